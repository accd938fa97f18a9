"""The world API in this very process: worlds of this machine, commands that are its children."""

from __future__ import annotations

import os
import time

from substrate.api import sessions
from substrate.api.capture import OUTPUT_BYTES, Capture, Ended
from substrate.api.judging import Judge
from substrate.api.recording import Announcement, Recorder
from substrate.api.records import DENY, ExecResult, WorldSpec
from substrate.api.results import DENIED, denied, kept_output, request_of, result_of, with_span
from substrate.api.spanning import Spanning
from substrate.errors import (
    CannotExecuteError,
    CommandNotFoundError,
    SubstrateError,
    WorldStateError,
)
from substrate.record import replace
from substrate.trace.directory import trace_directory
from substrate.trace.ids import TraceParent, carried, inherited
from substrate.world.context import prepare_directory
from substrate.world.isolated import mark_isolated, unmark_isolated
from substrate.world.output import Budget
from substrate.world.overrides import Overrides
from substrate.world.process import Moments, begin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from substrate.api.capture import OnOutput, Start
    from substrate.api.records import ExecRequest, Scope
    from substrate.api.sessions import Session
    from substrate.filesystem.entries import FsDiff
    from substrate.trace.events import Origin
    from substrate.trace.spans import Request
    from substrate.world.ahead import LayerAhead
    from substrate.world.context import Context
    from substrate.world.process import Started

    class Attendant(Protocol):
        """Who stays with a command from its start to its end."""

        def attend(self, start: Start, *, terminal: bool) -> Ended:
            """Start it and return how it ended."""
            ...


class InProcessWorld:
    """One session. `directory` is where its caller is; `warn` hears what was had only in part.

    `policy_file` is the policy given by name, over the person's own. `works_ahead`: when a command
    has ended, a thread makes the layer of the next one, which is removed by `close`. Commands of
    one session may run at the same time, in several threads.
    """

    def __init__(
        self,
        context: Context,
        directory: str,
        environment: Mapping[str, str],
        warn: Callable[[str], None],
        policy_file: str | None = None,
        *,
        works_ahead: bool = True,
    ) -> None:
        self._context = context
        self._directory = directory
        self._environment = dict(environment)
        self._warn = warn
        self._policy_file = policy_file
        self._session: Session | None = None
        self._judge: Judge | None = None
        self._recorder: Recorder | None = None
        self._works_ahead = works_ahead
        self._ahead: LayerAhead | None = None
        self._running: dict[str, Started] = {}

    @property
    def session(self) -> Session:
        """The session. Raises `WorldStateError` before `ensure_session`."""
        if self._session is None:
            message = "there is no session"
            raise WorldStateError(message, "ensure_session first")
        return self._session

    @property
    def judge(self) -> Judge:
        """The policy that holds."""
        if self._judge is None:
            project = self._session.project if self._session is not None else None
            self._judge = Judge(project, self._environment, self._policy_file)
        return self._judge

    def ensure_session(self, spec: WorldSpec) -> str:
        """Make the world, or find it running; return its id."""
        whole = sessions.complete(spec, self._directory)
        sessions.check_project(whole.project_dir or "", self._environment)
        self._judge = Judge(whole.project_dir, self._environment, self._policy_file)
        session = sessions.ensure(self._context, whole, self._judge, self._warn)
        self._enter(session)
        self._say_what_is_later(self._judge)
        if session.revived:
            self._tell(lambda: self._record().world("started", _names(session.degraded)))
        if session.made:
            self._tell(lambda: self._record().world("created", _names(session.degraded)))
        return session.world_id

    def find_session(self, spec: WorldSpec) -> str:
        """Find the world, running or ended; raises `WorldNotFoundError` when it was never made."""
        whole = sessions.complete(spec, self._directory)
        self._enter(sessions.session_of(self._context, whole, ended=True))
        return self.session.world_id

    def exec(self, request: ExecRequest, on_output: OnOutput | None = None) -> ExecResult:
        """Run a command to its end with its streams captured."""
        stdin = (request.stdin or "").encode("utf-8", "surrogateescape")
        limit = OUTPUT_BYTES if request.output_bytes is None else request.output_bytes
        request = with_span(request)
        timeout_s, budget = self.judge.timeout(request.timeout_s), self.budget()
        capture = Capture(stdin, limit, self._spill(request), timeout_s, on_output, budget)
        try:
            return self.exec_attended(request, capture)
        except (CannotExecuteError, CommandNotFoundError) as error:
            return self._not_executed(request, error)

    def exec_attended(
        self,
        request: ExecRequest,
        attendant: Attendant,
        descriptors: Mapping[int, int] | None = None,
        *,
        definitions: Mapping[str, str] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> ExecResult:
        """Run a command to its end, with somebody else staying with it.

        `descriptors`: what the program has open beside its streams, see `world.process.begin`.
        `definitions`: what the shell's own names stand for, for the policy. `settings`: what else
        a replay needs. Raises what keeps the command from running; a denial is a result.
        """
        session, request = self.session, with_span(request)
        asked = self._asked(request, settings)
        decision = self.judge.decide(request, definitions)
        recorder = self._record()
        origin = recorder.origin(request, self.judge.policy_id)
        if decision.action == DENY:
            recorder.denied(origin, asked, decision)
            return denied(request, session.world_id, decision)
        degraded = _names(session.degraded)
        if self.judge.isolates(decision):
            mark_isolated(os.path.join(self._context.data, session.world_id), origin.span_id or "")
        # Written while the command's process is being made, which takes as long.
        announcement = Announcement(lambda: recorder.start(origin, asked, decision, degraded))
        spanning = Spanning(self._context, session.world_id, announcement, self._ahead)
        ended, duration_ms = self._attend(
            request, asked, attendant, spanning, descriptors or {}, origin
        )
        telemetry: list[str] = []
        result = replace(
            result_of(request, session.world_id, ended, duration_ms, decision),
            fs_diff=spanning.finish(ended.code, telemetry),
            resources=spanning.used(ended, telemetry),
            degraded=degraded,
        )
        try:
            recorder.complete(origin, result)
        except (SubstrateError, OSError) as error:
            telemetry.append(f"the end of the command is not on record: {error}")
        if self._ahead is not None:
            self._ahead.make()
        return replace(result, telemetry=tuple(telemetry))

    def budget(self) -> Budget | None:
        """Return how much output a command may have, None without a limit."""
        limit = self.session.output_bytes
        return None if limit is None else Budget(limit)

    def ask(self, argv: tuple[str, ...], cwd: str, timeout_s: float = 2.0) -> Ended:
        """Run a program that only looks, such as a completion: it is no span of the session."""
        overrides = Overrides(args=argv, cwd=cwd)
        capture = Capture(b"", OUTPUT_BYTES, None, timeout_s)
        return capture.attend(
            lambda streams, _terminal, before: begin(
                self._context,
                self.session.world_id,
                overrides,
                streams,
                moments=Moments(before=before),
            ),
            terminal=False,
        )

    def cancel(self, span_id: str, signal: int = 15) -> bool:
        """Send a signal to a running command of this session; False when it does not run."""
        started = self._running.get(span_id)
        if started is None:
            return False
        started.signal(signal)
        return True

    def fs_diff(self, span_id: str) -> FsDiff:
        """Return what a span changed."""
        from substrate.world.diff import diff

        return diff(self._context, self.session.world_id, (), span_id)

    def scopes(self, span_id: str) -> tuple[Scope, ...]:
        """Return the remote endpoints a span used: none, since no world has a network yet."""
        self.fs_diff(span_id)
        return ()

    def span(self, span_id: str) -> list[dict[str, Any]]:
        """Return what is on record of a span of this session; raises `SpanNotFoundError`."""
        from substrate.trace.index import Index

        with Index(trace_directory(self._context.data)) as index:
            return index.span(span_id)

    def apply_policy(self) -> None:
        """Read the policy again; it holds from the next command on.

        What it says of worlds holds for the next one, and whoever warns is told.
        """
        self._judge = Judge(self.session.project, self._environment, self._policy_file)
        self._say_what_is_later(self._judge)

    def destroy(self) -> None:
        """End the world and all that runs in it. Its changes are gone with it.

        What each of its spans changed stays in the trace.
        """
        from substrate.api.keeping import keep_changes
        from substrate.world.delete import delete

        self._forget_ahead()
        self._tell(lambda: keep_changes(self._context, self.session.world_id))
        self._tell(lambda: self._record().world("deleted"))
        delete(self._context, self.session.world_id, self._warn, force=True)
        self.close()

    def close(self) -> None:
        """Leave the session as it is and close what is open for it."""
        self._forget_ahead()
        self._ahead = None
        recorder, self._recorder, self._session = self._recorder, None, None
        if recorder is not None:
            recorder.close()

    def changes(self, paths: tuple[str, ...] = ()) -> FsDiff:
        """Return what the session has changed in the project and not given to it yet.

        Of these paths and what is in them when there are any.
        """
        from substrate.world.diff import diff

        return diff(self._context, self.session.world_id, paths)

    def accept(self, paths: tuple[str, ...]) -> FsDiff:
        """Apply changes to the real project, all or those at the paths; return what was applied.

        Raises `ConflictError` and, for what is risky, `RefusedError`; then nothing is applied.
        """
        from substrate.filesystem.accept import Wish
        from substrate.world.accept import accept

        self._forget_ahead()
        try:
            done = accept(
                self._context, self.session.world_id, Wish(paths=paths), self._warn, _nobody,
                lambda _accepted: None,
            )  # fmt: skip
        except SubstrateError as error:
            self.record_change("accept", None, error.message)
            raise
        self.record_change("accept", done.diff)
        return done.diff

    def undo(self) -> tuple[str, ...]:
        """Take the last accept back; return the paths that came back or went."""
        from substrate.world.undo import undo

        self._forget_ahead()
        try:
            done = undo(self._context, self.session.world_id, self._warn, _nobody)
        except SubstrateError as error:
            self.record_change("undo", None, error.message)
            raise
        self.record_change("undo", None)
        return done.paths

    def record_change(self, action: str, changed: FsDiff | None, reason: str | None = None) -> None:
        """Put on record that changes were accepted, discarded or undone, or were not: `reason`."""
        self._tell(lambda: self._record().changed(action, changed, reason))

    def history_file(self) -> str:
        """Return where a shell keeps what was typed: beside the data of worlds, not in one."""
        prepare_directory(self._context.data)
        return self._context.data + "-history"

    def _enter(self, session: Session) -> None:
        parent, reason = inherited(self._environment)
        if reason:
            self._warn(reason)
        if parent is not None:
            session = replace(session, session_id=parent.session_id)
        above = None if parent is None else parent.span_id
        self.close()
        self._session = session
        self._recorder = Recorder(self._context.data, session.session_id, session.world_id, above)
        if self._works_ahead and session.project:
            # Loaded by who stays for more than one command.
            from substrate.world.ahead import LayerAhead

            recorder = self._recorder
            self._ahead = LayerAhead(self._context, session.world_id, recorder.prepare)

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()

    def _say_what_is_later(self, judge: Judge) -> None:
        keys = sessions.later_keys(self.session, judge)
        if keys:
            self._warn(
                f"the policy has changed: {', '.join(keys)} will hold in the next world, made after"
                " substrate end"
            )

    def _record(self) -> Recorder:
        assert self._recorder is not None  # noqa: S101 -- entered with the session
        return self._recorder

    def _attend(
        self,
        request: ExecRequest,
        asked: Request,
        attendant: Attendant,
        spanning: Spanning,
        descriptors: Mapping[int, int],
        origin: Origin,
    ) -> tuple[Ended, int]:
        span_id = origin.span_id or ""
        began = time.monotonic()

        def start(
            streams: dict[int, int], terminal: bool, before: Callable[[Started], None] | None
        ) -> Started:
            overrides = Overrides(
                args=asked.argv,
                cwd=asked.cwd,
                env=tuple(f"{name}={value}" for name, value in asked.env.items()),
                terminal=terminal,
            )
            names = (span_id, origin.session_id)
            given = {**streams, **descriptors}
            try:
                started = spanning.begin(overrides, given, names, before)
            except WorldStateError:
                if not self._revive():
                    raise
                started = spanning.begin(overrides, given, names, before)
            self._running[span_id] = started
            return started

        try:
            ended = attendant.attend(start, terminal=request.pty)
        except BaseException as error:
            if not spanning.has_begun:
                unmark_isolated(os.path.join(self._context.data, self.session.world_id), span_id)
            self._tell_failure(origin, request, error, spanning.announcement)
            raise
        finally:
            self._running.pop(span_id, None)
            spanning.release(span_id)
        return ended, int((time.monotonic() - began) * 1000)

    def _revive(self) -> bool:
        """Make the world run again when it has ended since the last command."""
        session = self.session
        spec = WorldSpec(session.world_id, session.bundle, session.project)
        revived = sessions.revive(self._context, spec, self.judge, self._warn)
        if revived:
            # It was made by the policy of now.
            self._session = sessions.session_of(self._context, spec)
            self._session = replace(self._session, session_id=session.session_id)
            self._tell(lambda: self._record().world("started", _names(session.degraded)))
        return revived

    def _asked(self, request: ExecRequest, settings: dict[str, Any] | None) -> Request:
        session = self.session
        parent = TraceParent(session.session_id, request.span_id or "")
        env = self.judge.environment(self._environment) | dict(request.env)
        told = {"bundle": session.bundle, "project": session.project} | (settings or {})
        return request_of(
            request,
            request.cwd or session.directory,
            env | carried(parent, self._environment),
            told,
        )

    def _spill(self, request: ExecRequest) -> str:
        """Return where output goes that a result does not hold: it goes with the world."""
        directory = os.path.join(self._context.data, self.session.world_id, "output")
        return os.path.join(directory, request.span_id or "")

    def _not_executed(self, request: ExecRequest, error: SubstrateError) -> ExecResult:
        text = f"{error.message}\n".encode()
        return ExecResult(
            exit=error.status,
            span_id=request.span_id or "",
            world_id=self.session.world_id,
            duration_ms=0,
            stderr=kept_output(text),
        )

    def _tell_failure(
        self,
        origin: Origin,
        request: ExecRequest,
        error: BaseException,
        announcement: Announcement,
    ) -> None:
        status = error.status if isinstance(error, SubstrateError) else DENIED
        result = ExecResult(status, request.span_id or "", self.session.world_id, 0)
        message = error.message if isinstance(error, SubstrateError) else type(error).__name__
        # It may have failed before anything of it was on record.
        self._tell(announcement.write)
        if announcement.is_written:
            self._tell(lambda: self._record().complete(origin, result, message))

    def _tell(self, write: Callable[[], None]) -> None:
        """Write to the trace what must not stop anything; a failure is reported."""
        try:
            write()
        except (SubstrateError, OSError) as error:
            self._warn(f"not on record: {error}")


def _nobody(_done: int, _of: int) -> None:
    """Hear how far a long change has come."""


def _names(degraded: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in degraded)
