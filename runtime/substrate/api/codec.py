"""The records of the API as JSON and back, from one table of their fields.

Strict about what a caller asks (an unknown key is an error: it might have been a limit), lenient
about results, to which later versions may add.
"""

from __future__ import annotations

from substrate.api.records import (
    ExecRequest,
    ExecResult,
    Limit,
    Output,
    PolicyDecision,
    Resources,
    Scope,
    WorldSpec,
)
from substrate.errors import UsageError
from substrate.filesystem.entries import FsDiff
from substrate.filesystem.recorded import from_json as diff_from_json
from substrate.record import as_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Read = Callable[[Any, str], Any]
    T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return a record as what `jsontext.dumps` takes; absent fields are left out."""
    if type(value) in FIELDS:
        shown = {name: item for name, item in as_dict(value).items() if item not in (None, ())}
        return {name: _field_to_json(name, item) for name, item in shown.items()}
    if isinstance(value, FsDiff):
        return value.to_json(touched=True)
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: Any, where: str = "$") -> T:
    """Return the record of a JSON value. Raises `UsageError` with the path of what is wrong."""
    fields, strict = FIELDS[kind], kind in _STRICT
    if not isinstance(data, dict):
        raise _wrong(where, "an object", data)
    unknown = sorted(set(data) - set(fields))
    if strict and unknown:
        message = f"{where}: there is no key {unknown[0]!r}"
        raise UsageError(message, f"known are {', '.join(fields)}")
    values = {
        name: read(data[name], f"{where}.{name}")
        for name, read in fields.items()
        if data.get(name) is not None
    }
    missing = [name for name in _REQUIRED.get(kind, ()) if name not in values]
    if missing:
        message = f"{where}: the key {missing[0]!r} is missing"
        raise UsageError(message)
    return kind(**values)


def _field_to_json(name: str, item: Any) -> Any:
    if name == "env":
        return dict(item)
    return to_json(item)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "a string", value)
    return value


def _word(value: Any, where: str) -> str:
    """Read text that the kernel will take: no byte of it is NUL."""
    text = _text(value, where)
    if "\0" in text:
        message = f"{where}: a NUL byte"
        raise UsageError(message)
    return text


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)
    return value


def _integer(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(where, "an integer", value)
    return value


def _count(value: Any, where: str) -> int:
    number = _integer(value, where)
    if number < 0:
        raise _wrong(where, "no negative number", value)
    return number


def _seconds(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e9:
        raise _wrong(where, "a number of seconds", value)
    return float(value)


def _words(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "an array", value)
    return tuple(_word(item, f"{where}[{index}]") for index, item in enumerate(value))


def _environment(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    for name in value:
        if not name or "=" in name or "\0" in name:
            message = f"{where}: {name!r} is no name of a variable"
            raise UsageError(message)
    return tuple((name, _word(item, f"{where}.{name}")) for name, item in value.items())


def span_id(value: Any, where: str = "$.span_id") -> str:
    """Return a W3C span id: 16 hexadecimal digits, not all zero."""
    text = _text(value, where)
    if len(text) != 16 or set(text) - set("0123456789abcdef") or text == "0" * 16:
        raise _wrong(where, "a span id of 16 hexadecimal digits", value)
    return text


def fs_diff(value: Any, where: str = "$") -> FsDiff:
    """Return a diff of files from its JSON. Raises `UsageError` when it is none."""
    try:
        return diff_from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{where}: not a file system diff: {type(error).__name__}: {error}"
        raise UsageError(message) from None


def _one_of(*words: str) -> Read:
    def read(value: Any, where: str) -> str:
        if value not in words:
            raise _wrong(where, " or ".join(words), value)
        return str(value)

    return read


def _nested(kind: type) -> Read:
    return lambda value, where: from_json(kind, value, where)


def _several(kind: type) -> Read:
    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(where, "an array", value)
        return tuple(from_json(kind, item, f"{where}[{index}]") for index, item in enumerate(value))

    return read


def _wrong(where: str, wanted: str, value: Any) -> UsageError:
    shown = repr(value)
    message = f"{where}: expected {wanted}, got {shown if len(shown) < 60 else shown[:60] + '…'}"
    return UsageError(message)


FIELDS: dict[type, dict[str, Read]] = {
    ExecRequest: {
        "argv": _words,
        "command": _word,
        "cwd": _word,
        "env": _environment,
        "stdin": _text,
        "pty": _flag,
        "span_id": span_id,
        "parent_span": span_id,
        "agent_id": _word,
        "timeout_s": _seconds,
        "output_bytes": _count,
    },
    Output: {
        "text": _text,
        "size": _count,
        "sha256": _text,
        "truncated": _flag,
        "file": _text,
    },
    Scope: {
        "host": _text,
        "port": _count,
        "protocol": _text,
        "address": _text,
        "bytes_sent": _count,
        "bytes_received": _count,
    },
    PolicyDecision: {
        "action": _one_of("allow", "isolate", "deny", "would_deny"),
        "rule": _text,
        "source": _text,
        "reason": _text,
    },
    Resources: {
        "cpu_ms": _count,
        "memory_peak": _count,
        "oom_killed": _flag,
        "throttled": _flag,
        "pids_peak": _count,
        "survivors": _count,
        "limits_hit": _several(Limit),
    },
    Limit: {"name": _text, "message": _text, "hint": _text, "fatal": _flag},
    ExecResult: {
        "exit": _integer,
        "span_id": span_id,
        "world_id": _text,
        "duration_ms": _count,
        "signal": _text,
        "timed_out": _flag,
        "stdout": _nested(Output),
        "stderr": _nested(Output),
        "fs_diff": fs_diff,
        "scopes_used": _several(Scope),
        "resources": _nested(Resources),
        "policy_decision": _nested(PolicyDecision),
        "degraded": _words,
        "telemetry": _words,
        "evidence": _text,
    },
    WorldSpec: {"id": _word, "bundle": _word, "project_dir": _word, "reuse": _flag},
}
_STRICT = (ExecRequest, WorldSpec)
_REQUIRED: dict[type, tuple[str, ...]] = {
    Limit: ("name", "message"),
    Output: ("text", "size", "sha256"),
    Scope: ("host", "port", "protocol"),
    PolicyDecision: ("action",),
    ExecResult: ("exit", "span_id", "world_id", "duration_ms"),
}
