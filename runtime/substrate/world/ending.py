"""Ending a world, or one command of it, with everything that it has started."""

from __future__ import annotations

import os

from substrate.kernel import procfs, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.state import State

_SIGKILL, _SIGSTOP = 9, 19
_ROUNDS = 50


def end_world(state: State, owner: str) -> None:
    """Kill every process of a world; `owner` is its state directory. Does not wait."""
    if "pid" in state.namespaces:
        # The end of pid 1 is the end of all.
        send({state.pid: state.start_time}, _SIGKILL)
        return
    from substrate.world.kill import kill_all

    kill_all(state, owner, _SIGKILL)


def end_tree(pid: int) -> None:
    """Kill a child of this process and all that descends from it, where it has no cgroup.

    They are stopped first, so that nobody is born meanwhile. A daemon that has already become a
    child of the world's first process is not among them.
    """
    known: dict[int, int] = {}
    for _ in range(_ROUNDS):
        found = procfs.identify(lambda: {pid, *procfs.descendants(pid)})
        new = {one: found[one] for one in found.keys() - known.keys()}
        if not new:
            break
        send(new, _SIGSTOP)
        known |= new
    send(known, _SIGKILL)


def send(processes: dict[int, int], number: int) -> None:
    """Send a signal to processes given as pid -> start time, to those that have not ended."""
    for pid, started in processes.items():
        pidfd = procfs.open_pidfd(pid, started)
        if pidfd is not None:
            signals.send_if_alive(pidfd, number)
            os.close(pidfd)
