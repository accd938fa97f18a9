"""Mounts the runtime makes itself, detached, and sends into the world as descriptors.

Used with privilege and a user namespace: the world's uid 0 is a powerless uid outside, which may
not reach every source, and only the initial namespace may make an id-mapped mount of them. What
is made here is locked against the world (`steps/locking.py`), then attached by the plan.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.bundle.mount_options import MountOptions
from substrate.errors import UnsupportedError
from substrate.filesystem.layers import overlay_options
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.hostview import READ_ONLY
from substrate.isolation.steps.locking import locking_sequence
from substrate.isolation.steps.project import (
    PROJECT_ATTRIBUTES,
    layer_of,
    project_options,
)
from substrate.kernel import messages, mountapi
from substrate.kernel.credentials import FilesystemIdentity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.spec import ResolvedProject, WorldSpec

_WHOLE_TREE = MountOptions(bind=True, recursive_bind=True)
_NO_IDMAP = (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


class PreparedMounts:
    """The detached mounts `sequence.runtime_mounts` names, in that order, until closed.

    `unmapped` lists sources whose file system has no id-mapped mounts (an overlay, a network
    file system): what root owns there shows as nobody's, so the world may read what everybody
    may, and write nothing.
    """

    def __init__(self, spec: WorldSpec, userns_fd: int) -> None:
        """Make them; `userns_fd` is the world's user namespace. Raises OSError."""
        self.fds: list[int] = []
        self.unmapped: list[str] = []
        self._idmap = userns_fd if spec.identity is not None and spec.identity.idmapped else -1
        try:
            if spec.root_path is not None:
                self._bind(spec.root_path, _WHOLE_TREE)
            for mount in spec.mounts:
                if mount.kind == "bind":
                    self._bind(mount.source, mount.options)
            if spec.project is not None:
                self.fds.append(_prepare_project(spec, spec.project, self._idmap))
        except BaseException:
            self.close()
            raise

    def lock(self, userns_fd: int, executor: str) -> None:
        """Replace the mounts by copies whose flags the world cannot change."""
        if not self.fds:
            return
        directories = tuple(stat.S_ISDIR(os.fstat(fd).st_mode) for fd in self.fds)
        inputs = {f"mount{number}": fd for number, fd in enumerate(self.fds)}
        plan = compile_plan(locking_sequence(directories))
        talk = Conversation(plan, inputs | {"userns": userns_fd}, executor)
        try:
            locked = talk.expect_descriptors(messages.READY, len(directories))
        finally:
            end(talk)
        self.close()
        self.fds = locked

    def close(self) -> None:
        """Close the descriptors; what has not been attached by then goes away."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    def _bind(self, source: str, options: MountOptions) -> None:
        fd = mountapi.clone_mount(source, recursive=options.recursive_bind)
        self.fds.append(fd)
        _set_attributes(fd, options)
        # The host view keeps its owners, who are nobody's inside: shown as the world's own, uid 0
        # would read what only root may, such as /etc/ssl/private.
        if self._idmap < 0 or options is READ_ONLY:
            return
        try:
            mountapi.set_mount_attributes(
                fd, recursive=options.recursive_bind, idmap_userns_fd=self._idmap
            )
        except OSError as error:
            if error.errno not in _NO_IDMAP:
                raise
            self.unmapped.append(source)


def _set_attributes(fd: int, options: MountOptions) -> None:
    mountapi.set_mount_attributes(fd, options.flags_set, options.flags_clear)
    mountapi.set_mount_attributes(
        fd, options.recursive_set, options.recursive_clear, recursive=True
    )


def _prepare_project(spec: WorldSpec, project: ResolvedProject, idmap: int) -> int:
    if project.layer is None:
        return _bind_project(project, idmap)
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


def _bind_project(project: ResolvedProject, idmap: int) -> int:
    fd = mountapi.clone_mount(project.path, recursive=True)
    try:
        _set_attributes(fd, project_options(project))
        if idmap >= 0:
            _map_ids_or_refuse(fd, idmap, project.path, recursive=True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _map_ids_or_refuse(fd: int, idmap: int, path: str, *, recursive: bool = False) -> None:
    try:
        mountapi.set_mount_attributes(fd, recursive=recursive, idmap_userns_fd=idmap)
    except OSError as error:
        message = f"cannot show {path} with mapped ids: {error.strerror}"
        hint = (
            "the file system does not support id-mapped mounts; give the project to an ordinary "
            "user, or allow host ids with --allow-degraded host-uid-0"
        )
        raise UnsupportedError(message, hint) from None


def _overlay(lower: str, directory: str) -> int:
    data = overlay_options(layer_of(lower, directory, rootful=True))
    return mountapi.new_mount("overlay", data, PROJECT_ATTRIBUTES)
