"""The cgroup of a world: made before its first process, removed after its last."""

from __future__ import annotations

import os

from substrate.cgroups.owned import open_world, remove_world
from substrate.cgroups.place import make_world, seat
from substrate.world.outcome import of_process, of_world

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from resource import struct_rusage

    from substrate.cgroups.group import Cgroup
    from substrate.cgroups.limits import Files
    from substrate.cgroups.report import LimitHit
    from substrate.isolation.spec import ResolvedCgroup
    from substrate.world.outcome import Resources
    from substrate.world.state import State


def make_cgroup(resolved: ResolvedCgroup, owner: str) -> Cgroup:
    """Make a world's cgroup with its limits and return, open, where its processes begin.

    `owner` is the world's state directory. On failure nothing is left.
    """
    made = make_world(resolved.place, resolved.files, owner)
    with made:
        if resolved.device_program:
            _attach_device_program(made, resolved.files)
        return seat(made)


def bring_in(place: Cgroup, pid: int) -> None:
    """Move a process into a cgroup, unless it began there."""
    if pid not in place.processes():
        place.add_process(pid)


def remove_cgroup(state: State, owner: str, warn: Callable[[str], None]) -> None:
    """Kill what is left in a world's cgroup and remove it; idempotent."""
    if state.cgroup and not remove_world(state.cgroup, owner):
        warn(f"the cgroup {state.cgroup} is not this world's, and was left as it is")


def used_by_world(
    state: State, owner: str, usage: struct_rusage | None, hits: tuple[LimitHit, ...]
) -> Resources:
    """Return what a world has used, by its cgroup while that is there."""
    world = open_world(state.cgroup, owner) if state.cgroup else None
    if world is None:
        return of_process(usage, hits)
    with world:
        return of_world(world, usage, hits)


def signal_all(state: State, owner: str, number: int) -> bool:
    """Send a signal to all in a world's cgroup; False when it has none."""
    world = open_world(state.cgroup, owner)
    if world is None:
        return False
    with world:
        world.signal(number)
    return True


def processes_of(state: State, owner: str) -> list[int] | None:
    """Return the pids in a world's cgroup, None when it has none."""
    world = open_world(state.cgroup, owner) if state.cgroup else None
    if world is None:
        return None
    with world:
        return world.processes()


def _attach_device_program(world: Cgroup, files: Files) -> None:
    from substrate.cgroups.device_program import device_program
    from substrate.cgroups.devices import DENY_ALL
    from substrate.kernel import bpf

    program = bpf.load_device_program(device_program(files.devices or DENY_ALL))
    try:
        bpf.attach_device_program(world.fd, program)
    finally:
        os.close(program)
