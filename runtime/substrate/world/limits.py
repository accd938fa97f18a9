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
    from substrate.kernel.parking import ParkedProcess
    from substrate.world.outcome import Resources
    from substrate.world.state import State


class Seat:
    """Where a world's first process begins: a cgroup held open by `fd`, kept until `close`."""

    def __init__(self, cgroup: Cgroup, unit: str, parked: ParkedProcess | None) -> None:
        self._cgroup = cgroup
        self._unit = unit
        self._parked = parked

    @property
    def fd(self) -> int:
        """The cgroup's descriptor."""
        return self._cgroup.fd

    def take(self, pid: int) -> None:
        """Let a process be in it from now on."""
        bring_in(self._cgroup, pid, self._unit)
        self._end_parked()

    def close(self) -> None:
        """Close the descriptor. A scope that nobody has taken ends."""
        self._end_parked()
        self._cgroup.close()

    def _end_parked(self) -> None:
        if self._parked is not None:
            self._parked.end()


def make_cgroup(resolved: ResolvedCgroup, owner: str, *, accounting: bool) -> Seat:
    """Make a world's cgroup with its limits and return, open, where its processes begin.

    `owner` is the world's state directory; with `accounting` the memory of each of its commands is
    counted apart. On failure nothing is left.
    """
    parked: ParkedProcess | None = None
    unit = ""
    if resolved.unit is None:
        made = make_world(resolved.place, resolved.files, owner, accounting=accounting)
    else:
        from substrate.cgroups.scope import make_scope

        unit = resolved.unit.reference
        made, parked = make_scope(
            resolved.place, resolved.unit, resolved.files, owner, accounting=accounting
        )
    with made:
        try:
            if resolved.device_program:
                _attach_device_program(made, resolved.files)
            return Seat(seat(made), unit, parked)
        except BaseException:
            if parked is not None:
                parked.end()
            raise


def bring_in(place: Cgroup, pid: int, unit: str = "") -> None:
    """Move a process into a cgroup, unless it began there; `unit` as in a world's state."""
    if pid in place.processes():
        return
    if not unit:
        place.add_process(pid)
        return
    from substrate.cgroups.scope import place_process

    place_process(place, pid, unit)


def hold_figures(state: State) -> ParkedProcess | None:
    """Keep a world's figures beyond its end, where they would vanish with it.

    The caller ends the process, if there is one, when it has read them.
    """
    if not state.unit:
        return None
    from substrate.cgroups.scope import hold_scope

    return hold_scope(state.unit, state.cgroup)


def remove_cgroup(state: State, owner: str, warn: Callable[[str], None]) -> None:
    """Kill what is left in a world's cgroup and remove it; idempotent."""
    if state.unit:
        from substrate.cgroups.scope import remove_scope

        problem = remove_scope(state.unit, state.cgroup, owner)
        if problem:
            warn(problem)
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
