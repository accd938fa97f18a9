"""Mounts the runtime makes itself, detached, and sends into the world as descriptors.

Used with privilege and a user namespace: the world's uid 0 is a powerless uid outside, which may
not reach every source, and only the initial namespace may make an id-mapped mount of them. What
is made here is attached by the plan; its attributes are locked against the world, because it
comes from a more privileged mount namespace (mount_namespaces(7)).
"""

from __future__ import annotations

import errno
import os

from substrate.errors import UnsupportedError
from substrate.isolation.steps.project import (
    PROJECT_ATTRIBUTES,
    ROOTFUL_OPTIONS,
    escape,
    project_options,
)
from substrate.kernel import mountapi
from substrate.kernel.credentials import FilesystemIdentity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.mount_options import MountOptions
    from substrate.isolation.spec import ResolvedProject, WorldSpec

_NO_IDMAP = (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


def prepare_mounts(spec: WorldSpec, userns_fd: int) -> list[int]:
    """Return the descriptors of the mounts `sequence.runtime_mounts` names, in that order.

    `userns_fd` is the world's user namespace. The caller closes what it gets; on failure
    nothing is left open.
    """
    idmap = userns_fd if spec.identity is not None and spec.identity.idmapped else -1
    made: list[int] = []
    try:
        if spec.root_path is not None:
            made.append(_prepare_root(spec.root_path, idmap))
        made += [
            _prepare_bind(mount.source, mount.options, idmap)
            for mount in spec.mounts
            if mount.kind == "bind"
        ]
        if spec.project is not None:
            made.append(_prepare_project(spec, spec.project, idmap))
    except BaseException:
        for fd in made:
            os.close(fd)
        raise
    return made


def _prepare_root(path: str, idmap: int) -> int:
    fd = mountapi.clone_mount(path, recursive=True)
    _map_ids(fd, idmap, recursive=True)
    return fd


def _prepare_bind(source: str, options: MountOptions, idmap: int) -> int:
    fd = mountapi.clone_mount(source, recursive=options.recursive_bind)
    try:
        mountapi.set_mount_attributes(fd, options.flags_set, options.flags_clear)
        mountapi.set_mount_attributes(
            fd, options.recursive_set, options.recursive_clear, recursive=True
        )
        _map_ids(fd, idmap, recursive=options.recursive_bind)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _map_ids(fd: int, idmap: int, *, recursive: bool) -> None:
    """Show files with the ids the world knows, where the file system can.

    Where it cannot (an overlay, a network file system) they show as nobody's, which takes no
    protection away: the world may then read what everybody may.
    """
    if idmap < 0:
        return
    try:
        mountapi.set_mount_attributes(fd, recursive=recursive, idmap_userns_fd=idmap)
    except OSError as error:
        if error.errno not in _NO_IDMAP:
            raise


def _prepare_project(spec: WorldSpec, project: ResolvedProject, idmap: int) -> int:
    if project.layer is None:
        return _prepare_bind(project.path, project_options(project), idmap)
    if idmap < 0 or spec.identity is None:
        return _overlay(project.path, project.layer)
    lower = mountapi.clone_mount(project.path, recursive=False)
    layer = -1
    try:
        layer = mountapi.clone_mount(project.layer, recursive=False)
        for fd, path in ((lower, project.path), (layer, project.layer)):
            _map_ids_or_refuse(fd, idmap, path)
        uid, gid = spec.identity.uid_map[0].host_id, spec.identity.gid_map[0].host_id
        with FilesystemIdentity(uid, gid):
            return _overlay(f"/proc/self/fd/{lower}", f"/proc/self/fd/{layer}")
    finally:
        os.close(lower)
        if layer >= 0:
            os.close(layer)


def _map_ids_or_refuse(fd: int, idmap: int, path: str) -> None:
    try:
        mountapi.set_mount_attributes(fd, idmap_userns_fd=idmap)
    except OSError as error:
        message = f"cannot show {path} with mapped ids: {error.strerror}"
        hint = (
            "the file system does not support id-mapped mounts; give the project to an ordinary "
            'user, or allow host ids with --allow-degraded host-uid-0'
        )
        raise UnsupportedError(message, hint) from None


def _overlay(lower: str, layer: str) -> int:
    data = (
        ("lowerdir", escape(lower)),
        ("upperdir", escape(f"{layer}/upper")),
        ("workdir", escape(f"{layer}/work")),
        *ROOTFUL_OPTIONS,
    )
    return mountapi.new_mount("overlay", data, PROJECT_ATTRIBUTES)
