"""Where a world's cgroup goes and what is written into it, decided before anything is made."""

from __future__ import annotations

from substrate.cgroups.hierarchy import UNIFIED, Place, choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files, without
from substrate.cgroups.place import missing_controllers
from substrate.errors import UnsupportedError
from substrate.isolation.spec import ResolvedCgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.bundle.model import Config
    from substrate.cgroups.hierarchy import Hierarchy
    from substrate.cgroups.limits import Files

CGROUP = "cgroup"


def resolve_cgroup(
    config: Config, name: str, lose: Callable[[str, str], None], *, privileged: bool,
    by_systemd: bool = False,
) -> ResolvedCgroup | None:  # fmt: skip
    """Return the cgroup of a world, None when it gets none.

    On a host of cgroup v2 alone every world has one, for its figures and its end. Elsewhere only
    a world that asks for limits, or for a path, gets one where it can be had. `lose` is told what
    cannot be had, and raises unless it may be missing.
    """
    limits = None if config.substrate is None else config.substrate.limits
    files = cgroup_files(config.linux.resources, limits)
    hierarchy = find_hierarchy()
    path = config.linux.cgroups_path
    if by_systemd:
        return _resolve_scope(config, hierarchy, name, files, lose, privileged=privileged)
    asked = bool(files.writes or files.losses)
    if not asked and (path is None or not hierarchy.mount) and hierarchy.mode != UNIFIED:
        return None
    try:
        place = choose_place(hierarchy, path, name, privileged=privileged)
        lost = (*files.losses, *missing_controllers(hierarchy, place, files))
    except UnsupportedError as error:
        if asked:
            lose(CGROUP, f"the limits of the bundle cannot be had: {error.message}")
        return None
    for loss in lost:
        lose(loss.name, loss.reason)
    files = without(files, tuple(loss.name.partition(".")[2] for loss in lost))
    if not files.writes and path is None and hierarchy.mode != UNIFIED:
        # Nothing of what was asked for is left to enforce.
        return None
    return ResolvedCgroup(place, files, _needs_device_program(config))


def _resolve_scope(
    config: Config, hierarchy: Hierarchy, name: str, files: Files,
    lose: Callable[[str, str], None], *, privileged: bool,
) -> ResolvedCgroup:  # fmt: skip
    """Return the scope of a world. That systemd cannot make one is no loss but an error."""
    from substrate.cgroups.scope import choose_scope, unmanaged_controllers

    path = config.linux.cgroups_path
    scope = choose_scope(hierarchy, path, name, privileged=privileged)
    lost = {loss.name: loss for loss in (*files.losses, *unmanaged_controllers(files))}
    for loss in missing_controllers(hierarchy, Place(scope.root, ()), files):
        lost.setdefault(loss.name, loss)
    for loss in lost.values():
        lose(loss.name, loss.reason)
    files = without(files, tuple(name.partition(".")[2] for name in lost))
    device_program = _needs_device_program(config)
    return ResolvedCgroup(scope.place, files, device_program, scope.unit, scope.reachable)


def _needs_device_program(config: Config) -> bool:
    """Whether device rules mean anything: in a user namespace no device can be made anyway."""
    return config.linux.namespace("user") is None and bool(
        (config.linux.resources or {}).get("devices")
    )
