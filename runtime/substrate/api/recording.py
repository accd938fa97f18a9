"""From requests and results to the trace: the only place where commands are put on record.

What announces a command must be written, or the command does not run. What tells of its end is
written if it can be: nothing that goes wrong there changes what the command did.
"""

from __future__ import annotations

from substrate.record import replace
from substrate.trace.directory import trace_directory
from substrate.trace.events import (
    AcceptEvent,
    CommandComplete,
    Decision,
    Origin,
    Stream,
    WorldEvent,
)
from substrate.trace.spans import (
    Request,
    command_start,
    prepare,
    refusal,
    shorten_diff,
    write_request,
)
from substrate.trace.writer import TraceWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from substrate.api.records import ExecRequest, ExecResult, Output, PolicyDecision, Resources
    from substrate.filesystem.entries import FsDiff


class Announcement:
    """The record that a command is about to run: written once, by the first who asks for it."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write: Callable[[], None] | None = write
        self.is_written = False

    def write(self) -> None:
        """Write it, unless that was tried before. Raises `TraceWriteError`."""
        write, self._write = self._write, None
        if write is not None:
            write()
            self.is_written = True


class Recorder:
    """The trace of one data directory, for one session; `world_id` "" is the host itself.

    `parent_span`: on whose behalf all its commands run, unless a request says otherwise.
    """

    def __init__(
        self, data: str, session_id: str, world_id: str, parent_span: str | None = None
    ) -> None:
        self._directory = trace_directory(data)
        self._writer = TraceWriter(self._directory)
        self.session_id = session_id
        self._world_id = world_id
        self._parent_span = parent_span

    def close(self) -> None:
        """Close the trace."""
        self._writer.close()

    def prepare(self) -> None:
        """Make ready what the next command's record takes. Raises `SubstrateError`, `OSError`."""
        prepare(self._directory)

    @property
    def _where(self) -> str:
        return "world" if self._world_id else "host"

    def origin(self, request: ExecRequest, policy_id: str | None) -> Origin:
        """Return whose event a request's is."""
        return Origin(
            session_id=self.session_id,
            span_id=request.span_id,
            parent_span=request.parent_span or self._parent_span,
            world_id=self._world_id or None,
            policy_id=policy_id,
            agent_id=request.agent_id,
        )

    def start(
        self,
        origin: Origin,
        asked: Request,
        decision: PolicyDecision | None,
        degraded: tuple[str, ...],
    ) -> None:
        """Put on record that a command is about to run. Raises `TraceWriteError`."""
        recorded = write_request(self._directory, origin, asked)
        event = replace(
            command_start(origin, asked, recorded),
            policy_decision=_decision(decision),
            degraded=degraded,
            execution_origin=self._where,
        )
        self._writer.append(event)

    def denied(self, origin: Origin, asked: Request, decision: PolicyDecision) -> None:
        """Put on record that a command was not run. Raises `TraceWriteError`."""
        told = _decision(decision) or Decision(decision.action)
        self._writer.append(refusal(origin, asked, told))

    def complete(self, origin: Origin, result: ExecResult, error: str | None = None) -> None:
        """Put on record how a command ended. Raises `TraceWriteError`."""
        fs_diff: dict[str, Any] | None = None
        if result.fs_diff is not None:
            fs_diff = shorten_diff(result.fs_diff.to_json(), reference=result.span_id)
        self._writer.append(
            CommandComplete(
                origin=origin,
                exit=result.exit,
                duration_ms=result.duration_ms,
                signal=result.exit - 128 if result.signal else None,
                timed_out=result.timed_out,
                error=error,
                scopes_used=tuple(
                    f"{scope.host}:{scope.port}/{scope.protocol}" for scope in result.scopes_used
                ),
                fs_diff=fs_diff,
                stdout=_stream(result.stdout),
                stderr=_stream(result.stderr),
                resources=_resources(result.resources),
                execution_origin=self._where,
                degraded=result.degraded,
            )
        )

    def changed(self, action: str, changed: FsDiff | None, reason: str | None) -> None:
        """Put on record what became of changes. Raises `TraceWriteError`."""
        origin = Origin(session_id=self.session_id, world_id=self._world_id)
        short = None if changed is None else shorten_diff(changed.to_json())
        outcome = "done" if reason is None else "refused"
        self._writer.append(AcceptEvent(origin, action, outcome, fs_diff=short, reason=reason))

    def world(self, action: str, degraded: tuple[str, ...] = ()) -> None:
        """Put on record that a world came or went. Raises `TraceWriteError`."""
        origin = Origin(session_id=self.session_id, world_id=self._world_id)
        self._writer.append(WorldEvent(origin, action, degraded=degraded))


def _decision(decision: PolicyDecision | None) -> Decision | None:
    if decision is None:
        return None
    return Decision(decision.action, decision.rule, decision.source, decision.reason)


def _resources(used: Resources | None) -> dict[str, Any] | None:
    if used is None:
        return None
    told = {name: getattr(used, name) for name in ("cpu_ms", "memory_peak", "oom_killed")}
    return {name: value for name, value in told.items() if value is not None}


def _stream(output: Output | None) -> Stream | None:
    return None if output is None else Stream(bytes=output.size, sha256=output.sha256)
