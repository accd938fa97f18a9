"""File system calls that `os` has no function for: exact renames, paths that stay beneath, birth.

Each takes open directories and one name, so nothing here follows a link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from substrate.kernel.constants import At, Rename, Resolve
from substrate.kernel.linux import syscall

_OPEN_HOW = struct.Struct("=QQQ")
_STATX_SIZE = 256
_STATX_BTIME = 0x800
# struct statx: the mask at 0, stx_btime (seconds, nanoseconds) at 80.
_BTIME_OFFSET = 80
_FICLONE = 0x4004_9409
_NO_CLONE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY)


def move(from_fd: int, name: str, to_fd: int, new_name: str) -> None:
    """Rename without replacing anything; raises `FileExistsError` when the new name is taken."""
    _rename(from_fd, name, to_fd, new_name, Rename.NOREPLACE)


def exchange(one_fd: int, one: str, other_fd: int, other: str) -> None:
    """Exchange two names, of whatever kinds, at once."""
    _rename(one_fd, one, other_fd, other, Rename.EXCHANGE)


def open_beneath(root_fd: int, path: str, flags: int) -> int:
    """Open a path below a directory; no link is followed and no mount is entered.

    Raises `OSError`: ELOOP for a link on the way, EXDEV for a mount.
    """
    if not path:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=root_fd)
    resolve = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_MAGICLINKS | Resolve.NO_XDEV
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    return syscall("openat2", root_fd, os.fsencode(path), how, len(how))


def birth_ns(folder_fd: int, name: str) -> int:
    """Return when the file was made, in nanoseconds since 1970; 0 where nobody knows."""
    import ctypes

    found = ctypes.create_string_buffer(_STATX_SIZE)
    flags = At.SYMLINK_NOFOLLOW
    try:
        syscall("statx", folder_fd, os.fsencode(name), flags, _STATX_BTIME, found)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return 0
        raise
    (mask,) = struct.unpack_from("=I", found, 0)
    if not mask & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", found, _BTIME_OFFSET)
    whole: int = seconds * 1_000_000_000 + nanoseconds
    return whole


def sync_filesystem(fd: int) -> None:
    """Write out everything of the file system that a descriptor is on."""
    syscall("syncfs", fd)


def clone_content(source_fd: int, target_fd: int) -> bool:
    """Let an empty file share the other's blocks; False where the file system cannot."""
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _rename(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> None:
    syscall("renameat2", from_fd, os.fsencode(name), to_fd, os.fsencode(new_name), flags)
