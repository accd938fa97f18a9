"""exec: a further process in a running world, under the same restrictions as its first."""

from __future__ import annotations

import os

from substrate.bundle.checks import check_process
from substrate.bundle.degradable import OUTPUT_LIMIT
from substrate.bundle.jsonfile import read_json
from substrate.bundle.model import parse_process
from substrate.errors import (
    BundleError,
    CannotExecuteError,
    CommandNotFoundError,
    SubstrateError,
    UnsupportedError,
    UsageError,
    WorldStateError,
)
from substrate.isolation import unlocked
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.entering import EnteredWorld, exec_sequence
from substrate.isolation.payload import Descriptors
from substrate.isolation.unlocked import has_unlocked_mounts
from substrate.kernel import procfs
from substrate.record import record
from substrate.world import state as states
from substrate.world.accepted import is_interrupted
from substrate.world.console import connect_console, send_console
from substrate.world.ending import end_tree
from substrate.world.filters import find_filter
from substrate.world.foreground import Attendance
from substrate.world.joining import Entrance
from substrate.world.outcome import Outcome, of_process, of_span
from substrate.world.overrides import NO_OVERRIDES, override
from substrate.world.pidfile import write_pid_file
from substrate.world.placing import PLAIN, place
from substrate.world.store import World
from substrate.world.stored import diff_settings, stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.bundle.model import Config, Process
    from substrate.cgroups.spans import SpanCgroup
    from substrate.isolation.spec import Filter
    from substrate.world.context import Context
    from substrate.world.joining import View
    from substrate.world.outcome import Resources
    from substrate.world.output import Limited
    from substrate.world.overrides import Overrides
    from substrate.world.span import Span
    from substrate.world.state import State


@record
class ExecRequest:
    """What `exec` is asked for; the process is that of the file, or the bundle's with changes.

    `span_id`: its changes to the project are a layer of their own, kept under this id.
    """

    world_id: str
    process_file: str | None = None
    overrides: Overrides = NO_OVERRIDES
    preserve_fds: int = 0
    detach: bool = False
    ignore_paused: bool = False
    pid_file: str | None = None
    console_socket: str | None = None
    executor: str = "native"
    span_id: str | None = None
    session: str = ""


@record
class _Command:
    """A command at its gate: `span` is its layer, `cgroup` its own one; None where it has none."""

    talk: Conversation
    master_fd: int
    output: Limited | None
    cgroup: SpanCgroup | None
    span: Span | None


def execute(context: Context, request: ExecRequest, warn: Callable[[str], None]) -> Outcome:
    """Run a process in a world and return how it ended; detached, return once it runs.

    Raises `WorldStateError` unless the world is created or running.
    """
    with World.open(context, request.world_id) as world:
        state = world.read()
        if is_interrupted(state.data):
            from substrate.world.completing import complete

            complete(context, state)
        config = stored_config(world)
    process = _process(config, state, request)
    _refuse_unlocked_mounts(context, config, process)
    if state.current_status == states.PAUSED and not request.ignore_paused:
        message = f"container {request.world_id} is paused"
        raise WorldStateError(message, f"substrate-runtime resume {request.world_id}")
    if state.current_status not in (states.CREATED, states.RUNNING, states.PAUSED):
        message = f"container not running: {request.world_id} is {state.current_status}"
        raise WorldStateError(message, f"substrate-runtime state {request.world_id}")
    console = None if request.console_socket is None else connect_console(request.console_socket)
    seccomp = find_filter(context, config)
    entrance = Entrance(
        state, world.path,
        # A detached command is in the world's own cgroup: nobody would remove another one.
        spanned=not request.detach, span_id=request.span_id or "",
    )  # fmt: skip
    output = _limited_output(context, config, process, request)
    try:
        with entrance:

            def start(view: View) -> tuple[Conversation, int]:
                return _launch(state, process, seccomp, entrance, request, view, output)

            if state.layer is None and request.span_id is None:
                (talk, master), span = start(PLAIN), None
            else:
                names = (request.span_id, request.session)
                (talk, master), span = place(state, config, world.path, names, start)
        if console is not None and master >= 0:
            send_console(console, master)
            master = -1
        if request.detach:
            if span is not None:
                from substrate.world.unattended import begin_unattended

                begin_unattended(state, span)
            _finish(talk, request)
            return Outcome(0)
        command = _Command(talk, master, output, entrance.cgroup, span)
        outcome = _attend(state, config, command, request, warn)
    finally:
        if output is not None:
            output.close()
    for hit in outcome.resources.limits_hit:
        # Every command of a world with little processor time is slowed down; once is enough, in
        # what `run` tells at the world's end.
        if hit.is_fatal:
            warn(f"{hit.sentence} ({hit.hint})")
    return outcome


def _attend(
    state: State,
    config: Config,
    command: _Command,
    request: ExecRequest,
    warn: Callable[[str], None],
) -> Outcome:
    """Stay with a command to its end, and keep what its span has changed."""
    status = CannotExecuteError.status
    try:
        used, status = _wait(command, request)
    except CommandNotFoundError as error:
        status = error.status
        raise
    finally:
        if command.cgroup is not None:
            command.cgroup.close()
        if command.span is not None:
            _keep_changes(state, config, command.span, status, warn)
    return Outcome(status, used)


def _keep_changes(
    state: State, config: Config, span: Span, status: int, warn: Callable[[str], None]
) -> None:
    from substrate.world.span import leave_span

    try:
        leave_span(state, span, diff_settings(config), status=status)
    except (SubstrateError, OSError) as error:
        # The command has run, whatever became of this; its layer is still there to be looked at.
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        warn(f"what span {span.span_id} changed is not recorded: {why}")


def _wait(command: _Command, request: ExecRequest) -> tuple[Resources, int]:
    pid, output, cgroup = command.talk.pid, command.output, command.cgroup
    if output is not None:
        output.give()
        output.what = "the command"
        output.end = (lambda: end_tree(pid)) if cgroup is None else cgroup.kill
    attendance = Attendance(pid, command.master_fd, output)
    with attendance:
        _finish(command.talk, request)
        status = attendance.wait()
    hits = () if output is None else output.hits()
    if cgroup is None:
        return of_process(attendance.usage, hits), status
    return of_span(cgroup, attendance.usage, hits), status


def _limited_output(
    context: Context, config: Config, process: Process, request: ExecRequest
) -> Limited | None:
    extension = config.substrate
    limit = None if extension is None else extension.limits.output_bytes
    if limit is None or extension is None:
        return None
    if not request.detach and request.console_socket is None:
        from substrate.world.output import Limited

        return Limited(limit, terminal=process.terminal)
    if not {"limit", OUTPUT_LIMIT}.intersection(
        (*context.allow_degraded, *extension.allow_degraded)
    ):
        message = "the limit output cannot be counted for a command that is detached"
        hint = f"leave out --detach, or accept it with --allow-degraded {OUTPUT_LIMIT}"
        raise UnsupportedError(message, hint)
    return None


def _finish(talk: Conversation, request: ExecRequest) -> None:
    """Let the program run; when it cannot, its process is ended."""
    try:
        if request.pid_file is not None:
            write_pid_file(request.pid_file, talk.pid)
        talk.go()
        talk.wait_for_exec()
    except BaseException:
        end(talk)
        raise
    talk.close()


def _refuse_unlocked_mounts(context: Context, config: Config, process: Process) -> None:
    if not has_unlocked_mounts(config, process, privileged=procfs.is_privileged()):
        return
    allowed = config.substrate.allow_degraded if config.substrate is not None else ()
    if unlocked.NAME not in (*context.allow_degraded, *allowed):
        hint = f"accept it with --allow-degraded {unlocked.NAME}"
        raise UnsupportedError(unlocked.REASON, hint)


def _process(config: Config, state: State, request: ExecRequest) -> Process:
    process = config.process
    if request.process_file is not None:
        data = read_json(request.process_file)
        name = os.path.basename(request.process_file)
        process = parse_process(data, "$", name)
        problems = check_process(data, "$")
        if problems:
            raise BundleError([f"{name}: {problem}" for problem in problems])
    elif not request.overrides.args:
        message = "there is nothing to execute"
        raise UsageError(message, "name a command after the id, or use --process FILE")
    process = override(process, request.overrides)
    if process is None:
        message = "there is nothing to execute"
        raise UsageError(message, "name a command after the id, or use --process FILE")
    return process


def _launch(
    state: State, process: Process, seccomp: Filter | None, entrance: Entrance,
    request: ExecRequest, view: View, output: Limited | None,
) -> tuple[Conversation, int]:  # fmt: skip
    if request.executor == "python":
        # It joins as a fork of this very process, which must be untraceable before that.
        from substrate.kernel.identity import set_dumpable

        set_dumpable(False)
    inputs = entrance.inputs | view.inputs | ({} if output is None else output.inputs)
    world = EnteredWorld(
        state.namespaces, state.may_set_groups, entrance.into_cgroup, view.overlay,
        view.joins_mounts, "stdout" in inputs,
    )  # fmt: skip
    plan = compile_plan(exec_sequence(process, world, seccomp, Descriptors(request.preserve_fds)))
    talk = Conversation(plan, inputs, request.executor, request.preserve_fds)
    try:
        if world.forks:
            talk.follow_fork()
        entrance.bring_in(talk.pid)
        master = talk.expect_ready(terminal=process.terminal, confirm=view.confirm)
    except BaseException:
        end(talk)
        raise
    return talk, master
