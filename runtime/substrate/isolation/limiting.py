"""Which limits a world gets, and by which means, decided before anything is made."""

from __future__ import annotations

import os

from substrate.bundle.degradable import DISK_LIMIT
from substrate.cgroups.hierarchy import UNIFIED, Place, choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files, without
from substrate.cgroups.place import missing_controllers
from substrate.errors import UnsupportedError
from substrate.isolation.spec import ResolvedCgroup
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.bundle.extension import SubstrateConfig
    from substrate.bundle.model import Config
    from substrate.cgroups.hierarchy import Hierarchy
    from substrate.cgroups.limits import Files
    from substrate.isolation.spec import ResolvedProject

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


def limit_layers(
    project: ResolvedProject | None,
    extension: SubstrateConfig | None,
    lose: Callable[[str, str], None],
) -> ResolvedProject | None:
    """Return the project with the limit of its layers, if the kernel can keep it."""
    limit = None if extension is None else extension.limits.disk_bytes
    if limit is None:
        return project
    if project is None or project.layer is None:
        lose(DISK_LIMIT, "the limit disk is of the layers of a project, and the world has none")
        return project
    from substrate.filesystem.space import why_unlimited

    directory = os.path.dirname(project.layer)
    reason = why_unlimited(directory)
    if reason:
        lose(DISK_LIMIT, f"the limit disk cannot be enforced for {directory}: {reason}")
        return project
    return replace(project, limit_bytes=limit)


def _needs_device_program(config: Config) -> bool:
    """Whether device rules mean anything: in a user namespace no device can be made anyway."""
    return config.linux.namespace("user") is None and bool(
        (config.linux.resources or {}).get("devices")
    )
