"""kill: a signal to a world's first process, or to every process of it."""

from __future__ import annotations

import os

from substrate.errors import UsageError, WorldStateError
from substrate.kernel import procfs, signals
from substrate.world import state as states
from substrate.world.store import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.context import Context
    from substrate.world.state import State

_ALIVE = (states.CREATED, states.RUNNING, states.PAUSED)


def signal_number(text: str) -> int:
    """Return the number of `TERM`, `SIGTERM`, `15`, `RTMIN+3`; raises `UsageError`."""
    if text.isascii() and text.isdigit() and 0 <= int(text) <= signals.LAST:
        return int(text)
    name = text.upper()
    name = name if name.startswith("SIG") else "SIG" + name
    base, plus, offset = name.partition("+")
    number = signals.named(base)
    if number is not None and not plus:
        return number
    if number is not None and base == "SIGRTMIN" and offset.isdigit():
        number += int(offset)
        if number <= signals.LAST:
            return number
    message = f"unknown signal {text!r}"
    raise UsageError(message, "kill -l lists them")


def kill(context: Context, world_id: str, signal: int, *, everybody: bool = False) -> None:
    """Send a signal. Raises `WorldStateError` when the world has no process any more."""
    with World.open(context, world_id) as world:
        state = world.read()
    if everybody:
        kill_all(state, world.path, signal)
        return
    if state.current_status not in _ALIVE or not _send(state.pid, state.start_time, signal):
        message = f"container not running: {world_id} is {state.current_status}"
        raise WorldStateError(message, f"substrate-runtime state {world_id}")


def kill_all(state: State, owner: str, signal: int) -> None:
    """Send a signal to every process of a world; nobody left is what was wanted, as under runc.

    Through its cgroup none is missed: SIGKILL reaches those just being forked, and for any other
    signal the world is stopped meanwhile. `owner` is the world's state directory.
    """
    if state.cgroup and signal:
        from substrate.world.limits import signal_all

        if signal_all(state, owner, signal):
            return
    for pid, started in procfs.identify(lambda: world_processes(state, owner)).items():
        _send(pid, started, signal)


def world_processes(state: State, owner: str = "") -> list[int]:
    """Return the pids of the processes in a world, as the runtime sees them.

    Found by its cgroup (`owner` is the world's state directory), else by its pid namespace; a
    world that shares its pid namespace, by its mount namespace.
    """
    if state.cgroup and owner:
        from substrate.world.limits import processes_of

        found = processes_of(state, owner)
        if found is not None:
            return found
    if not state.is_alive:
        return []
    for kind, name in (("pid", "pid"), ("mount", "mnt")):
        inode = procfs.namespace_inode(state.pid, name)
        if kind in state.namespaces and inode is not None:
            if inode == procfs.namespace_inode("self", name):
                continue
            return procfs.processes_in(name, inode)
    return [state.pid]


def _send(pid: int, started: int, signal: int) -> bool:
    """Signal the very process that started then; False when it is gone."""
    pidfd = procfs.open_pidfd(pid, started)
    if pidfd is None:
        return False
    try:
        signals.send(pidfd, signal)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True
