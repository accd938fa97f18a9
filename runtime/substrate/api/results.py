"""From a request to what is put on record of it, and from its end to its result."""

from __future__ import annotations

from substrate.api.records import ExecResult
from substrate.errors import CannotExecuteError, UsageError
from substrate.record import replace
from substrate.trace.ids import new_span_id
from substrate.trace.spans import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.api.capture import Ended
    from substrate.api.records import ExecRequest, Output, PolicyDecision

DENIED = CannotExecuteError.status


def request_of(
    request: ExecRequest, cwd: str, env: dict[str, str], settings: dict[str, Any] | None
) -> Request:
    """Return exactly what is asked, for the record. Raises `UsageError` when it is no command."""
    if bool(request.argv) == (request.command is not None):
        message = "a request has either argv or a command"
        raise UsageError(message)
    stdin = None if request.stdin is None else request.stdin.encode("utf-8", "surrogateescape")
    return Request(
        argv=request.argv or ("bash", "-c", request.command or ""),
        cwd=cwd,
        env=env,
        cmd=request.command,
        pty=request.pty,
        timeout_s=request.timeout_s,
        stdin_kind="none" if stdin is None else "given",
        stdin_bytes=None if stdin is None else len(stdin),
        stdin_sha256=None if stdin is None else _sha256(stdin),
        settings=settings,
    )


def result_of(
    request: ExecRequest,
    world_id: str,
    ended: Ended,
    duration_ms: int,
    decision: PolicyDecision,
) -> ExecResult:
    """Return how a command ended, without what it changed."""
    return ExecResult(
        exit=ended.code if ended.code >= 0 else 128 - ended.code,
        span_id=request.span_id or "",
        world_id=world_id,
        duration_ms=duration_ms,
        signal=None if ended.code >= 0 else _signal_name(-ended.code),
        timed_out=ended.timed_out,
        stdout=ended.stdout,
        stderr=ended.stderr,
        policy_decision=decision,
    )


def denied(request: ExecRequest, world_id: str, decision: PolicyDecision) -> ExecResult:
    """Return the result of a command that was not run."""
    return ExecResult(
        exit=DENIED,
        span_id=request.span_id or "",
        world_id=world_id,
        duration_ms=0,
        policy_decision=decision,
    )


def with_span(request: ExecRequest) -> ExecRequest:
    """Return the request with a span id, a new one unless it has its own."""
    return request if request.span_id else replace(request, span_id=new_span_id())


def kept_output(data: bytes) -> Output:
    """Return bytes as the output of a command that was not run."""
    from substrate.api.capture import Kept

    kept = Kept(len(data), None)
    kept.add(data)
    return kept.close()


def _sha256(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
