"""Names of sessions and spans, as W3C Trace Context has them, and the variable that carries them.

A session is a trace id: 32 hexadecimal digits in the layout of a UUIDv7, so that ids sort by time
and their last 56 bits are random, which the flag `random` of Trace Context level 2 promises. A
span id is 16 digits. `import uuid` would cost 12 ms for the same digits.
"""

from __future__ import annotations

import os
import time

from substrate.errors import UsageError
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT = "TRACEPARENT"
TRACESTATE = "TRACESTATE"
SAMPLED = 0x01
RANDOM = 0x02
_HEX = frozenset("0123456789abcdef")
_LONGEST_STATE = 512


@record
class TraceParent:
    """Where a span hangs: the session it belongs to and the span above it."""

    session_id: str
    span_id: str
    flags: int = SAMPLED | RANDOM

    def __str__(self) -> str:
        return f"00-{self.session_id}-{self.span_id}-{self.flags:02x}"


def begin(parent: TraceParent | None = None) -> TraceParent:
    """Return a new span: in the session of its parent, else in a new session.

    Flags go on as they came: whether a trace id is random only its maker knows.
    """
    if parent is None:
        return TraceParent(new_session_id(), new_span_id())
    return TraceParent(parent.session_id, new_span_id(), parent.flags | SAMPLED)


def new_session_id(now_ns: int | None = None) -> str:
    """Return a new session id; `now_ns` is nanoseconds since 1970."""
    milliseconds = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    tail = int.from_bytes(os.urandom(10), "big")
    # 48 bits of time, version 7, 12 random bits, variant 0b10, 62 random bits (RFC 9562, 5.7).
    head = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (tail >> 68) << 64
    return f"{head | 0b10 << 62 | tail & 0x3FFF_FFFF_FFFF_FFFF:032x}"


def new_span_id() -> str:
    """Return a new span id; never all zeroes, which is no id."""
    while not any(digits := os.urandom(8)):
        pass
    return digits.hex()


def is_session_id(text: str) -> bool:
    """Whether the text is a trace id: 32 lower-case hexadecimal digits, not all zero."""
    return len(text) == 32 and _HEX.issuperset(text) and text != "0" * 32


def is_span_id(text: str) -> bool:
    """Whether the text is a span id: 16 lower-case hexadecimal digits, not all zero."""
    return len(text) == 16 and _HEX.issuperset(text) and text != "0" * 16


def parse_traceparent(text: str) -> TraceParent:
    """Return what a `traceparent` says; raises `UsageError` with what is wrong about it.

    A version above 00 may have more behind the flags, which is ignored (Trace Context, 3.2.3).
    """
    fault = _fault(text)
    if fault:
        message = f"TRACEPARENT is not used: {fault}"
        raise UsageError(message, "unset TRACEPARENT, or give 00-<32 hex>-<16 hex>-<2 hex>")
    _, session_id, span_id, flags = text.split("-")[:4]
    return TraceParent(session_id, span_id, int(flags, 16))


def inherited(environment: Mapping[str, str]) -> tuple[TraceParent | None, str]:
    """Return what the caller's TRACEPARENT says, and why it is ignored when it cannot be used.

    A bad one never stops a command: the reason is for a warning. Both are empty when unset.
    """
    text = environment.get(TRACEPARENT, "")
    if not text:
        return None, ""
    try:
        return parse_traceparent(text), ""
    except UsageError as error:
        return None, error.message


def carried(parent: TraceParent, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables a command inherits: TRACEPARENT, and TRACESTATE as it came.

    A TRACESTATE without a usable TRACEPARENT means nothing and is dropped, and so is one longer
    than the 512 characters that everybody must pass on.
    """
    variables = {TRACEPARENT: str(parent)}
    state = environment.get(TRACESTATE, "")
    if state and len(state) <= _LONGEST_STATE and inherited(environment)[0] is not None:
        variables[TRACESTATE] = state
    return variables


def _fault(text: str) -> str:
    parts = text.split("-")
    if len(parts) < 4:
        return "it has fewer than four parts"
    version, session_id, span_id, flags = parts[:4]
    faults = (
        (
            len(version) != 2 or not _HEX.issuperset(version) or version == "ff",
            "its version is not two lower-case hexadecimal digits below ff",
        ),
        (version == "00" and len(parts) > 4, "something follows the flags"),
        (
            not is_session_id(session_id),
            "its trace id is not 32 lower-case hexadecimal digits, or is zero",
        ),
        (
            not is_span_id(span_id),
            "its span id is not 16 lower-case hexadecimal digits, or is zero",
        ),
        (
            len(flags) != 2 or not _HEX.issuperset(flags),
            "its flags are not two lower-case hexadecimal digits",
        ),
    )
    return next((told for wrong, told in faults if wrong), "")


def checked_span_id(span_id: str | None) -> str:
    """Return a span id as it is; raises `UsageError` for anything else."""
    if span_id is None or not is_span_id(span_id):
        message = f"{span_id!r} is no span id"
        raise UsageError(message, "a span id is 16 hexadecimal digits")
    return span_id
