"""A world's cgroup in a scope that systemd makes: found, started, changed, stopped.

    x.scope          systemd's: it writes the limits it was told of, again and again
        ├ world      ours alone: the world, as anywhere else, with exactly its limits
        └ held       a process that does nothing, while somebody needs the scope to stay

A scope begins with a process and ends with its last one; systemd removes it at once. So one that
does nothing begins it, and ends when the world's first process is in: until then the death of the
runtime ends the scope too. That a unit is a world's is written in its description, which it has
from the first moment on.
"""

from __future__ import annotations

import os
import time

from substrate.cgroups.bus import MANAGER, Bus, CallError
from substrate.cgroups.group import Cgroup
from substrate.cgroups.hierarchy import Place
from substrate.cgroups.limits import Loss
from substrate.cgroups.owned import open_world
from substrate.cgroups.place import make_world
from substrate.cgroups.units import (
    CONTROLLERS,
    SYSTEM_SLICE,
    USER_SLICE,
    Unit,
    limit_properties,
    slice_parts,
    unit_of_path,
)
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.host import systemd
from substrate.kernel.parking import ParkedProcess
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cgroups.hierarchy import Hierarchy
    from substrate.cgroups.limits import Files
    from substrate.cgroups.units import Property

_SCOPE, _UNIT = "org.freedesktop.systemd1.Scope", "org.freedesktop.systemd1.Unit"
_JOB_TIMEOUT_S = 30.0
# At the host's shutdown: how long a world may take after SIGTERM.
_STOP_TIMEOUT_US = 10_000_000
_LEAVING_TIMEOUT_S, _PAUSE_S = 5.0, 0.02
_NO_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_WORLD, _HELD = "world", "held"


@record
class Scope:
    """Where a world will be: its `place`, in a `unit`, which is below the directory `root`.

    `reachable`: the caller may put processes there itself, without systemd.
    """

    place: Place
    unit: Unit
    root: str
    reachable: bool


def choose_scope(
    hierarchy: Hierarchy, cgroups_path: str | None, name: str, *, privileged: bool
) -> Scope:
    """Return the scope of the world called `name`; nothing is made.

    The system's manager makes those of root, the caller's own manager those of anybody else.
    Raises `UnsupportedError` where there is no such manager, `UsageError` for a bad path.
    """
    manager, default = (systemd.SYSTEM, SYSTEM_SLICE) if privileged else (
        systemd.USER, USER_SLICE)  # fmt: skip
    unit = unit_of_path(cgroups_path, name, manager, default)
    if not hierarchy.mount:
        message = "there is no cgroup2 file system that can be written"
        raise UnsupportedError(message, "boot with systemd.unified_cgroup_hierarchy=1")
    with _connect(manager) as bus:
        control_group = str(bus.read_property(MANAGER, "ControlGroup"))
    root = (hierarchy.mount + control_group).rstrip("/")
    directory = "/".join((root, *slice_parts(unit.slice), unit.name))
    reachable = privileged or _is_inside(hierarchy, root)
    return Scope(Place(directory, (_WORLD,)), unit, root, reachable)


def _is_inside(hierarchy: Hierarchy, root: str) -> bool:
    """Whether the caller is in a subtree, and may move processes within it (cgroups(7))."""
    own = hierarchy.own_directory or ""
    return own.startswith(root + "/") and os.access(f"{root}/cgroup.procs", os.W_OK)


def unmanaged_controllers(files: Files) -> tuple[Loss, ...]:
    """Return a loss for each controller that the limits need and systemd does not hand out."""
    return tuple(
        Loss(f"cgroup.{name}", f"a limit of {name} cannot be had: systemd does not hand it out")
        for name in files.controllers
        if name not in CONTROLLERS
    )


def make_scope(
    place: Place, unit: Unit, files: Files, owner: str, *, accounting: bool = False
) -> tuple[Cgroup, ParkedProcess]:
    """Start a world's scope with its limits; return its cgroup, and the process that holds it.

    The caller ends that process when another one is in. On failure nothing is left. Raises
    `RefusedError` when the unit is somebody else's.
    """
    parked = ParkedProcess()
    try:
        with _connect(unit.manager) as bus:
            _start(bus, unit, parked.pid, limit_properties(files), owner)
            _check_directory(bus, unit, place.base)
        _move_aside(place.base, unit, parked.pid)
        return make_world(place, files, owner, accounting=accounting), parked
    except BaseException:
        # Empty, it ends by itself; asked, it has ended when we return.
        parked.end()
        remove_scope(unit.reference, place.directory, owner)
        raise


def hold_scope(reference: str, directory: str) -> ParkedProcess | None:
    """Keep the scope of the world in `directory` until the returned process is ended.

    What a world has used is gone with its cgroup, and that with the world's last process. None
    when it has ended already.
    """
    held = Cgroup.open(f"{os.path.dirname(directory)}/{_HELD}")
    if held is None:
        return None
    parked = ParkedProcess()
    try:
        with held:
            place_process(held, parked.pid, reference)
    except BaseException:
        parked.end()
        raise
    return parked


def place_process(cgroup: Cgroup, pid: int, reference: str) -> None:
    """Move a process into a cgroup of a world's scope, by systemd where the caller may not.

    A caller outside of its own manager's subtree (a login by ssh is) has no right over the common
    ancestor of the two cgroups.
    """
    try:
        cgroup.add_process(pid)
    except SubstrateError:
        manager, _, name = reference.partition("/")
        below = "/" + cgroup.directory.partition(f"/{name}/")[2]
        with _connect(manager) as bus:
            bus.call("AttachProcessesToUnit", "ssau", (name, below, [pid]))


def update_scope(reference: str, files: Files) -> None:
    """Tell systemd the limits of a living world, or its next daemon-reload undoes them."""
    manager, _, name = reference.partition("/")
    with _connect(manager) as bus:
        properties = limit_properties(files)
        bus.call("SetUnitProperties", "sba(sv)", (name, True, properties))


def remove_scope(reference: str, directory: str, owner: str) -> str:
    """End a world's scope with all in it, and wait until systemd has forgotten it; idempotent.

    Returns why systemd could not be asked, "" when it could: the cgroup itself is then to be
    removed as any other. A unit that is not this world's is left alone.
    """
    world = open_world(directory, owner)
    if world is not None:
        with world:
            # First: from systemd everybody would get a SIGTERM, and time.
            world.kill()
    manager, _, name = reference.partition("/")
    try:
        with _connect(manager) as bus:
            _stop(bus, name, owner)
    except SubstrateError as error:
        return f"systemd was not told that {name} has ended: {error.message}"
    return ""


def _connect(manager: str) -> Bus:
    whose = "the system" if manager == systemd.SYSTEM else f"uid {os.getuid()}"
    return Bus.connect(systemd.doors(manager), whose)


def _description(owner: str) -> str:
    return f"Substrate world {owner}"


def _start(bus: Bus, unit: Unit, pid: int, limits: list[Property], owner: str) -> None:
    properties: list[Property] = [
        ("Description", ("s", _description(owner))),
        ("Slice", ("s", unit.slice)),
        ("PIDs", ("au", [pid])),
        # What is below is ours, and every controller is given to it.
        ("Delegate", ("b", True)),
        ("DefaultDependencies", ("b", False)),
        # A unit that failed (a process of it was killed for memory) is forgotten as well.
        ("CollectMode", ("s", "inactive-or-failed")),
        ("TimeoutStopUSec", ("t", _STOP_TIMEOUT_US)),
        *(
            (f"{kind}Accounting", ("b", True))
            for kind in ("CPU", "Memory", "Tasks", "IO")
        ),
        *limits,
    ]  # fmt: skip
    no_others: list[tuple[str, list[Property]]] = []
    deadline = time.monotonic() + _LEAVING_TIMEOUT_S
    while True:
        try:
            body = (unit.name, "fail", properties, no_others)
            (job,) = bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
            break
        except CallError as error:
            if error.name != _UNIT_EXISTS:
                raise
            # One that has just ended is there until systemd gets around to forgetting it.
            if _is_active(bus, unit.name) or time.monotonic() > deadline:
                message = f"the unit {unit.name} exists already"
                raise RefusedError(message, "name another one in linux.cgroupsPath") from None
            _ask(bus, "ResetFailedUnit", "s", (unit.name,))
            time.sleep(_PAUSE_S)
    result = bus.wait_for_job(job, f"starting {unit.name}", _JOB_TIMEOUT_S)
    if result != "done":
        message = f"systemd could not start {unit.name}: {result}"
        raise SubstrateError(message, f"journalctl -u {unit.name}")


def _check_directory(bus: Bus, unit: Unit, directory: str) -> None:
    path = _object_path(bus, unit.name)
    there = "" if path is None else str(bus.read_property(_SCOPE, "ControlGroup", path))
    if not there or not directory.endswith(there):
        message = f"systemd has put {unit.name} at {there or 'no cgroup'}, not {directory}"
        raise SubstrateError(message, "use --cgroup-manager cgroupfs")


def _move_aside(directory: str, unit: Unit, pid: int) -> None:
    """Move the first process of a scope below it: who gives controllers may hold no process."""
    scope = Cgroup.open(directory)
    if scope is None:
        message = f"the scope {unit.name} has ended before anything was in it"
        raise SubstrateError(message, f"journalctl -u {unit.name}")
    with scope, scope.make_child(_HELD) as held:
        held.add_process(pid)


def _stop(bus: Bus, name: str, owner: str) -> None:
    path = _object_path(bus, name)
    if path is None or _read(bus, path, "Description") != _description(owner):
        return
    if _is_active(bus, name):
        _ask(bus, "KillUnit", "ssi", (name, "all", 9))
        answer = _ask(bus, "StopUnit", "ss", (name, "replace"))
        if answer is not None:
            bus.wait_for_job(answer[0], f"stopping {name}", _JOB_TIMEOUT_S)
    _ask(bus, "ResetFailedUnit", "s", (name,))


def _is_active(bus: Bus, name: str) -> bool:
    path = _object_path(bus, name)
    return path is not None and _read(bus, path, "ActiveState") not in ("", "inactive", "failed")


def _object_path(bus: Bus, name: str) -> str | None:
    answer = _ask(bus, "GetUnit", "s", (name,))
    return None if answer is None else str(answer[0])


def _read(bus: Bus, path: str, name: str) -> str:
    """Return a property of a unit, "" when it has just been forgotten."""
    try:
        return str(bus.read_property(_UNIT, name, path))
    except CallError:
        return ""


def _ask(bus: Bus, method: str, signature: str, body: tuple[object, ...]) -> tuple[str, ...] | None:
    """Call a method about a unit; None when systemd does not know the unit (any more)."""
    try:
        answer: tuple[str, ...] = bus.call(method, signature, body)
    except CallError as error:
        if error.name == _NO_UNIT:
            return None
        raise
    return answer
