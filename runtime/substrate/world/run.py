"""run: create, start, wait, delete, in one call."""

from __future__ import annotations

import os

from substrate.errors import WorldNotFoundError
from substrate.isolation.conversation import end
from substrate.record import record
from substrate.world.console import connect_console, send_console
from substrate.world.create import create
from substrate.world.delete import remove
from substrate.world.foreground import Attendance
from substrate.world.pidfile import write_pid_file
from substrate.world.start import after_start, before_start, start_watcher
from substrate.world.store import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.isolation.timing import Durations
    from substrate.kernel.parking import ParkedProcess
    from substrate.world.context import Context
    from substrate.world.create import Created, CreateRequest
    from substrate.world.state import State


@record
class Manner:
    """How `run` goes about it.

    `keep` leaves the stopped world, with its changes, for `diff` and `delete`.
    """

    detach: bool = False
    keep: bool = False
    pid_file: str | None = None
    console_socket: str | None = None


def run(
    context: Context,
    request: CreateRequest,
    warn: Callable[[str], None],
    manner: Manner,
    on_timings: Callable[[Durations], None] | None = None,
) -> int:
    """Run a world to its end and return its exit status; detached, return 0 once it runs."""
    console = None if manner.console_socket is None else connect_console(manner.console_socket)
    with World.claim(context, request.world_id) as world:
        created = create(context, request, world, on_timings)
        for name, reason in created.state.degraded:
            warn(f"{name}: {reason}")
        master = created.master_fd
        if console is not None and master >= 0:
            send_console(console, master)
            master = -1
        if manner.detach:
            start_watcher(_start(context, world, created, manner, request.executor, warn))
            return 0
        held = _hold_figures(created.state)
        try:
            extension = created.config.substrate
            reaped = extension is not None and extension.init
            with Attendance(created.state.pid, master, reaped=reaped) as attendance:
                state = _start(context, world, created, manner, request.executor, warn)
                # Not under the lock: `kill`, `exec` and `state` come in meanwhile.
                world.unlock()
                watcher = start_watcher(state)
                status = attendance.wait()
            if watcher is not None:
                _tell_time(watcher, state, warn)
            _tell_limits(world, state, warn)
        finally:
            if held is not None:
                held.end()
        if not manner.keep:
            _remove_if_there(world, state, warn)
        return status


def _start(
    context: Context,
    world: World,
    created: Created,
    manner: Manner,
    executor: str,
    warn: Callable[[str], None],
) -> State:
    """Let the payload run; when it cannot, nothing of the world is left."""
    try:
        if manner.pid_file is not None:
            write_pid_file(manner.pid_file, created.state.pid)
        before_start(context, world, created.state, created.config, created.process, executor)
        created.talk.go()
        created.talk.wait_for_exec()
        state = after_start(world, created.state, created.config, warn)
    except BaseException:
        end(created.talk)
        remove(world, created.state, warn)
        raise
    created.talk.close()
    return state


def _tell_time(watcher: int, state: State, warn: Callable[[str], None]) -> None:
    # It ends with the world; with status 0 when it was it that ended the world.
    _, status = os.waitpid(watcher, 0)
    if status == 0:
        warn(
            f"wallTime: the world was ended after {state.wall_time_s} s with all its processes"
            " (raise $.substrate.limits.wallTime)"
        )


def _hold_figures(state: State) -> ParkedProcess | None:
    if not state.unit:
        return None
    from substrate.world.limits import hold_figures

    return hold_figures(state)


def _tell_limits(world: World, state: State, warn: Callable[[str], None]) -> None:
    if not state.cgroup:
        return
    from substrate.world.limits import hits_of

    for hit in hits_of(state, world.path):
        warn(f"{hit.sentence} ({hit.hint})" if hit.hint else hit.sentence)


def _remove_if_there(world: World, state: State, warn: Callable[[str], None]) -> None:
    try:
        world.lock()
    except WorldNotFoundError:
        # `delete --force` from elsewhere ended the world, and with it our wait.
        return
    remove(world, state, warn)
