"""exec: a further process in a running world, under the same restrictions as its first."""

from __future__ import annotations

import os

from substrate.bundle.checks import check_process
from substrate.bundle.jsonfile import read_json
from substrate.bundle.model import parse_process
from substrate.errors import (
    BundleError,
    CannotExecuteError,
    CommandNotFoundError,
    UnsupportedError,
    UsageError,
    WorldStateError,
)
from substrate.isolation import unlocked
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.entering import EnteredWorld, exec_sequence
from substrate.isolation.unlocked import has_unlocked_mounts
from substrate.kernel import procfs
from substrate.record import record
from substrate.world import state as states
from substrate.world.console import connect_console, send_console
from substrate.world.filters import find_filter
from substrate.world.foreground import Attendance
from substrate.world.joining import Entrance
from substrate.world.overrides import NO_OVERRIDES, override
from substrate.world.pidfile import write_pid_file
from substrate.world.placing import PLAIN, place
from substrate.world.store import World
from substrate.world.stored import stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config, Process
    from substrate.isolation.spec import Filter
    from substrate.world.context import Context
    from substrate.world.overrides import Overrides
    from substrate.world.placing import View
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


def execute(context: Context, request: ExecRequest) -> int:
    """Run a process in a world and return its exit status; detached, return 0 once it runs.

    Raises `WorldStateError` unless the world is created or running.
    """
    with World.open(context, request.world_id) as world:
        state = world.read()
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
    with Entrance(state, world.path) as entrance:

        def start(view: View) -> tuple[Conversation, int]:
            return _launch(state, process, seccomp, entrance, request, view)

        if state.layer is None and request.span_id is None:
            (talk, master), span = start(PLAIN), None
        else:
            names = (request.span_id, request.session)
            (talk, master), span = place(state, config, world.path, names, start)
    if console is not None and master >= 0:
        send_console(console, master)
        master = -1
    if request.detach:
        _finish(talk, request)
        return 0
    status = CannotExecuteError.status
    try:
        with Attendance(talk.pid, master) as attendance:
            _finish(talk, request)
            status = attendance.wait()
    except CommandNotFoundError as error:
        status = error.status
        raise
    finally:
        if span is not None:
            from substrate.world.span import leave_span

            leave_span(state, span, status=status)
    return status


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
    request: ExecRequest, view: View,
) -> tuple[Conversation, int]:  # fmt: skip
    if request.executor == "python":
        # It joins as a fork of this very process, which must be untraceable before that.
        from substrate.kernel.identity import set_dumpable

        set_dumpable(False)
    world = EnteredWorld(
        state.namespaces, state.may_set_groups, entrance.into_cgroup, view.overlay,
        view.joins_mounts,
    )  # fmt: skip
    plan = compile_plan(exec_sequence(process, world, seccomp, request.preserve_fds))
    inputs = entrance.inputs | view.inputs
    talk = Conversation(plan, inputs, request.executor, request.preserve_fds)
    try:
        if world.forks:
            talk.follow_fork()
        entrance.bring_in(talk.pid)
        master = talk.expect_ready(terminal=process.terminal)
    except BaseException:
        end(talk)
        raise
    return talk, master
