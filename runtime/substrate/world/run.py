"""run: create, start, wait, delete, in one call."""

from __future__ import annotations

import os

from substrate.errors import WorldNotFoundError
from substrate.isolation.conversation import end
from substrate.record import record
from substrate.world.console import connect_console, send_console
from substrate.world.create import create
from substrate.world.delete import remove
from substrate.world.ending import end_world
from substrate.world.foreground import Attendance
from substrate.world.outcome import Outcome, of_process
from substrate.world.pidfile import write_pid_file
from substrate.world.start import start_created, start_watcher
from substrate.world.store import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from resource import struct_rusage

    from substrate.cgroups.report import LimitHit
    from substrate.isolation.timing import Durations
    from substrate.kernel.parking import ParkedProcess
    from substrate.world.context import Context
    from substrate.world.create import Created, CreateRequest
    from substrate.world.outcome import Resources
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
) -> Outcome:
    """Run a world to its end and return how it ended; detached, return once it runs."""
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
            return Outcome(0)
        held = _hold_figures(created.state)
        try:
            status, used = _attend(context, world, created, master, manner, request, warn)
        finally:
            if held is not None:
                held.end()
        if not manner.keep:
            _remove_if_there(world, created.state, warn)
        return Outcome(status, used)


def _attend(
    context: Context,
    world: World,
    created: Created,
    master: int,
    manner: Manner,
    request: CreateRequest,
    warn: Callable[[str], None],
) -> tuple[int, Resources]:
    """Start a world and stay with it to its end; return its status and what it used."""
    extension = created.config.substrate
    reaped = extension is not None and extension.init
    output = created.output
    attendance = Attendance(created.state.pid, master, output, reaped=reaped)
    try:
        with attendance:
            state = _start(context, world, created, manner, request.executor, warn)
            # Not under the lock: `kill`, `exec` and `state` come in meanwhile.
            world.unlock()
            watcher = start_watcher(state)
            if output is not None:
                output.end = lambda: end_world(state, world.path)
            status = attendance.wait()
    finally:
        if output is not None:
            output.close()
    hits = () if output is None else output.hits()
    if watcher is not None:
        hits += _time_hit(watcher, state)
    if extension is not None and extension.limits.disk_bytes is not None:
        hits += _space_hit(world)
    used = _used(world, state, attendance.usage, hits)
    for hit in used.limits_hit:
        warn(f"{hit.sentence} ({hit.hint})" if hit.hint else hit.sentence)
    return status, used


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
        return start_created(context, world, created, executor, warn)
    except BaseException:
        end(created.talk)
        remove(world, created.state, warn)
        raise


def _time_hit(watcher: int, state: State) -> tuple[LimitHit, ...]:
    # It ends with the world; with status 0 when it was it that ended the world.
    _, status = os.waitpid(watcher, 0)
    if status != 0:
        return ()
    from substrate.world.walltime import hit

    return (hit(state.wall_time_s or 0),)


def _hold_figures(state: State) -> ParkedProcess | None:
    if not state.unit:
        return None
    from substrate.world.limits import hold_figures

    return hold_figures(state)


def _space_hit(world: World) -> tuple[LimitHit, ...]:
    from substrate.world.space import hit

    return hit(world.data)


def _used(
    world: World, state: State, usage: struct_rusage | None, hits: tuple[LimitHit, ...]
) -> Resources:
    if state.cgroup:
        from substrate.world.limits import used_by_world

        return used_by_world(state, world.path, usage, hits)
    return of_process(usage, hits)


def _remove_if_there(world: World, state: State, warn: Callable[[str], None]) -> None:
    try:
        world.lock()
    except WorldNotFoundError:
        # `delete --force` from elsewhere ended the world, and with it our wait.
        return
    remove(world, state, warn)
