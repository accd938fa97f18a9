"""Project quotas: a limit of the space that a directory tree may take, kept by its file system.

A directory is given a number, its project, which everything made below it inherits; the file
system counts the blocks of each project and refuses those beyond its limit with EDQUOT. ext4, XFS
and f2fs have it, where they are mounted with `prjquota`. quotactl_fd(2), ioctl_fs_ioc_fsgetxattr.
"""

from __future__ import annotations

import errno
import fcntl
import struct

# The same number on every architecture that came after 5.1, as quotactl_fd(2) did (5.14).
_QUOTACTL_FD = 443
_PROJECT_QUOTA = 2
_GET, _SET, _GET_STATE = 0x800007, 0x800008, 0x5808
_ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_INHERIT = 0x200
# struct fsxattr: flags, extent size, extents, project, copy-on-write extent size, padding.
_ATTRIBUTES = struct.Struct("=5I8x")
# struct if_dqblk: block limits in KiB, bytes used, inode limits, inodes used, times, what is valid.
_QUOTA = struct.Struct("=8QI4x")
_BLOCK = 1024
_BLOCK_LIMITS = 1


def is_enforced(fd: int) -> str:
    """Say why the file system of an open directory keeps no project quotas, "" when it does."""
    result, state = _quotactl(fd, _GET_STATE, 0, struct.pack("=b255x", 1))
    if result in (-errno.EPERM, -errno.EACCES):
        return "only root may limit space"
    if result == -errno.ENOSYS:
        return "the kernel has no quotactl_fd"
    if result < 0 or not struct.unpack_from("=H", state, 2)[0] & _ENFORCED:
        return "its file system keeps no project quotas; it must be mounted with prjquota"
    return ""


def project_of(fd: int) -> int:
    """Return the project that what is made in an open directory inherits, 0 for none."""
    try:
        flags, _, _, project, _ = _attributes(fd)
    except OSError:
        return 0  # the file system has no such thing
    return project if flags & _INHERIT else 0


def set_project(fd: int, project: int) -> None:
    """Give an open, empty directory to a project, with all that is made in it from now on."""
    flags, extent, extents, _, copied = _attributes(fd)
    wanted = _ATTRIBUTES.pack(flags | _INHERIT, extent, extents, project, copied)
    fcntl.ioctl(fd, _SET_ATTRIBUTES, wanted)


def used_and_limit(fd: int, project: int) -> tuple[int, int]:
    """Return the bytes that a project takes and may take (0: any number)."""
    result, found = _quotactl(fd, _GET, project, bytes(_QUOTA.size))
    if result in (-errno.ENOENT, -errno.ESRCH):
        return 0, 0
    _check(result)
    hard, _, used, *_ = _QUOTA.unpack(found)
    return used, hard * _BLOCK


def set_limit(fd: int, project: int, limit_bytes: int) -> None:
    """Limit the bytes of a project, in whole KiB downwards; 0 is no limit."""
    blocks = max(1, limit_bytes // _BLOCK) if limit_bytes else 0
    wanted = _QUOTA.pack(blocks, 0, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS)
    _check(_quotactl(fd, _SET, project, wanted)[0])


def _attributes(fd: int) -> tuple[int, ...]:
    raw = fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
    return _ATTRIBUTES.unpack(raw)


def _quotactl(fd: int, command: int, project: int, content: bytes) -> tuple[int, bytes]:
    # Loaded where there are quotas: every `delete` asks whether a directory has a project.
    import ctypes

    from substrate.kernel.linux import raw_syscall

    buffer = ctypes.create_string_buffer(content, len(content))
    words = (fd, command << 8 | _PROJECT_QUOTA, project, ctypes.addressof(buffer))
    return raw_syscall(_QUOTACTL_FD, words), buffer.raw


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, "quotactl_fd")
