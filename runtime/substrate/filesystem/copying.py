"""Copies one file with all that belongs to it: content, holes, owner, attributes, mode, times.

An overlay's own attributes are left behind. What the caller may not set (another's ownership,
attributes of security modules) is reported and not silently missing.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import SubstrateError
from substrate.filesystem.compare import OPEN_FILE
from substrate.filesystem.layers import OVERLAY_PREFIXES
from substrate.kernel.files import clone_content
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from substrate.filesystem.items import Item

_CHUNK = 1 << 20
_NOT_ALLOWED = (errno.EPERM, errno.EACCES, errno.ENOTSUP)


@record
class Metadata:
    """What chmod, chown, utimensat and setxattr decide; `attributes` as sorted pairs."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    attributes: tuple[tuple[str, bytes], ...]


def metadata_of(item: Item) -> Metadata:
    """Return the metadata of an item, without an overlay's own attributes."""
    found = item.attributes(OVERLAY_PREFIXES[0])
    return _metadata(item.status, found)


def metadata_at(folder_fd: int, name: str) -> Metadata:
    """Return the metadata of a name in an open directory, "" for the directory itself."""
    if not name:
        where: str | int = folder_fd
        status = os.fstat(folder_fd)
    else:
        where = f"/proc/self/fd/{folder_fd}/{name}"
        status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    return _metadata(status, _attributes(where))


def copy_item(item: Item, target_fd: int, name: str, metadata: Metadata) -> list[str]:
    """Copy what an item shows to `name`, which must not be there, with this metadata.

    A directory is copied without what is in it. Returns what could not be kept, in words.
    """
    kind = item.kind
    if kind == "file":
        _copy_file(item, target_fd, name)
    elif kind == "dir":
        os.mkdir(name, 0o700, dir_fd=target_fd)
    elif kind == "symlink":
        os.symlink(item.link_target(), name, dir_fd=target_fd)
    elif kind in {"fifo", "socket", "chardev", "blockdev"}:
        mode = stat.S_IFMT(item.status.st_mode) | 0o600
        try:
            os.mknod(name, mode, item.status.st_rdev, dir_fd=target_fd)
        except PermissionError as error:
            message = f"copying a {kind}: {error.strerror}"
            raise SubstrateError(message, "accept it as root, or leave it out") from error
    else:
        message = f"copying a file of the unknown kind {item.status.st_mode:o}"
        raise SubstrateError(message)
    return set_metadata(target_fd, name, metadata)


def set_metadata(folder_fd: int, name: str, wanted: Metadata) -> list[str]:
    """Give a file exactly this metadata; "" is the directory itself. Returns what was refused."""
    lost: list[str] = []
    status = _status(folder_fd, name)
    is_link = stat.S_ISLNK(status.st_mode)
    if (status.st_uid, status.st_gid) != (wanted.uid, wanted.gid):
        lost += _change_owner(folder_fd, name, status, wanted)
    where: str | int = f"/proc/self/fd/{folder_fd}/{name}" if name else folder_fd
    lost += _set_attributes(where, dict(wanted.attributes))
    # After the owner, because chown clears set-id bits, and after an access list, which sets the
    # bits of the group. A link has no mode of its own.
    if not is_link:
        set_mode(folder_fd, name, wanted.mode)
    set_mtime(folder_fd, name, wanted.mtime_ns)
    return lost


def set_mode(folder_fd: int, name: str, mode: int) -> None:
    """Set the mode of a file that is no link."""
    if not name:
        os.fchmod(folder_fd, mode)
        return
    # chmod(2) follows links and may block on nothing: by a handle on the very file.
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder_fd)
    try:
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        os.chmod(f"/proc/self/fd/{handle}", mode)
    finally:
        os.close(handle)


def set_mtime(folder_fd: int, name: str, mtime_ns: int) -> None:
    """Set the modification time; the access time stays."""
    status = _status(folder_fd, name)
    if status.st_mtime_ns == mtime_ns:
        return
    times = (status.st_atime_ns, mtime_ns)
    if name:
        os.utime(name, ns=times, dir_fd=folder_fd, follow_symlinks=False)
    else:
        os.utime(folder_fd, ns=times)


def _status(folder_fd: int, name: str) -> os.stat_result:
    if not name:
        return os.fstat(folder_fd)
    return os.stat(name, dir_fd=folder_fd, follow_symlinks=False)


def _metadata(status: os.stat_result, attributes: Mapping[str, bytes]) -> Metadata:
    shown = tuple(
        sorted(pair for pair in attributes.items() if not pair[0].startswith(OVERLAY_PREFIXES))
    )
    return Metadata(
        stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, shown
    )


def _change_owner(folder_fd: int, name: str, status: os.stat_result, wanted: Metadata) -> list[str]:
    lost: list[str] = []
    for uid, gid in ((wanted.uid, -1), (-1, wanted.gid)):
        if (uid, gid) in {(status.st_uid, -1), (-1, status.st_gid)}:
            continue
        try:
            if name:
                os.chown(name, uid, gid, dir_fd=folder_fd, follow_symlinks=False)
            else:
                os.fchown(folder_fd, uid, gid)
        except OSError as error:
            # EINVAL: the id has no place in our user namespace.
            if error.errno not in {errno.EPERM, errno.EINVAL}:
                raise
            lost.append(f"owner {uid}" if gid == -1 else f"group {gid}")
    return lost


def _attributes(where: str | int) -> dict[str, bytes]:
    follow = isinstance(where, int)
    try:
        keys = os.listxattr(where, follow_symlinks=follow)
        return {key: os.getxattr(where, key, follow_symlinks=follow) for key in keys}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _set_attributes(where: str | int, wanted: Mapping[str, bytes]) -> list[str]:
    lost: list[str] = []
    follow = isinstance(where, int)
    present = _attributes(where)
    for key in present.keys() - wanted.keys():
        if key.startswith(OVERLAY_PREFIXES):
            continue
        try:
            os.removexattr(where, key, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in _NOT_ALLOWED:
                raise
            # The security module labels what is made here; that is its decision.
    for key, value in wanted.items():
        if present.get(key) == value:
            continue
        try:
            os.setxattr(where, key, value, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in _NOT_ALLOWED:
                raise
            lost.append(f"attribute {key}")
    return lost


def _copy_file(item: Item, target_fd: int, name: str) -> None:
    source = item.content
    if item.data_missing:
        message = f"reading {item.folder.path_of(item.name)}: its content is not there any more"
        raise SubstrateError(message, "discard it")
    source_fd = os.open(source.name, OPEN_FILE, dir_fd=source.folder.fd())
    try:
        if not stat.S_ISREG(os.fstat(source_fd).st_mode):
            message = f"reading {source.folder.path_of(source.name)}: exchanged while it was read"
            raise SubstrateError(message, "end the processes of the world first")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made_fd = os.open(name, flags, 0o600, dir_fd=target_fd)
        try:
            copy_content(source_fd, made_fd)
        finally:
            os.close(made_fd)
    finally:
        os.close(source_fd)


def copy_content(source_fd: int, target_fd: int) -> None:
    """Copy the content of a file into an empty one, holes as holes."""
    size = os.fstat(source_fd).st_size
    if size and clone_content(source_fd, target_fd):
        return
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source_fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
            start = offset
        end = _end_of_data(source_fd, start, size)
        _copy_range(source_fd, target_fd, start, end)
        offset = end
    os.ftruncate(target_fd, size)


def _end_of_data(fd: int, start: int, size: int) -> int:
    try:
        return os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.ENXIO}:
            raise
        return size


def _copy_range(source_fd: int, target_fd: int, start: int, end: int) -> None:
    while start < end:
        try:
            count = os.copy_file_range(
                source_fd, target_fd, min(end - start, 1 << 30), start, start
            )
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}:
                raise
            chunk = os.pread(source_fd, min(_CHUNK, end - start), start)
            count = os.pwrite(target_fd, chunk, start) if chunk else 0
        if count == 0:
            return
        start += count
