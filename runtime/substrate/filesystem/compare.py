"""Whether two files are the same: content first, then what chmod, chown and setfattr change.

Files are opened without following links and without waiting, and only when they were regular a
moment ago and still are: a world may put a FIFO in the place of a file while it is compared.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.filesystem.descriptors import is_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.items import Item

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
CHUNK = 1 << 20
# EWOULDBLOCK: somebody holds a lease on the file. ENXIO: it has become a socket.
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EWOULDBLOCK, errno.ENXIO, errno.EIO)


class Unreadable(Exception):  # noqa: N818 -- an answer of this room, not a failure of the program
    """The content cannot be compared: no permission, a lease, or exchanged meanwhile."""


def same_metadata(one: Item, two: Item, prefix: str) -> bool:
    """Whether mode, owner, group and visible extended attributes are equal."""
    first, second = one.status, two.status
    if (
        first.st_mode != second.st_mode
        or first.st_uid != second.st_uid
        or first.st_gid != second.st_gid
    ):
        return False
    return one.attributes(prefix) == two.attributes(prefix)


def same_content(one: Item, two: Item) -> bool:
    """Whether two files of the same kind hold the same: bytes, link target or device number.

    Raises `Unreadable` when that cannot be known.
    """
    mode = one.status.st_mode
    if stat.S_ISREG(mode):
        return _same_bytes(one, two)
    if stat.S_ISLNK(mode):
        return one.link_target() == two.link_target()
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return one.status.st_rdev == two.status.st_rdev
    return True


def digest(item: Item, limit: int | None = None) -> bytes:
    """Return a digest of a regular file's first `limit` bytes, or of all; raises `Unreadable`."""
    # Only here: hashlib loads OpenSSL, which costs more than most diffs.
    from _blake2 import blake2b

    state = blake2b(digest_size=32)
    for chunk in read_chunks(item, limit):
        state.update(chunk)
    return state.digest()


def read_chunks(item: Item, limit: int | None = None) -> Iterator[bytes]:
    """Yield a regular file's first `limit` bytes, or all, as they are now; raises `Unreadable`."""
    if item.data_missing:
        raise Unreadable
    source = item.content
    size = source.status.st_size if limit is None else min(limit, source.status.st_size)
    fd = _open(source)
    try:
        offset = 0
        while offset < size:
            chunk = os.pread(fd, min(CHUNK, size - offset), offset)
            if not chunk:
                break
            yield chunk
            offset += len(chunk)
    finally:
        os.close(fd)


def _same_bytes(one: Item, two: Item) -> bool:
    # A file whose content lies below has the size of that, as the world saw it.
    if one.status.st_size != two.status.st_size:
        return False
    if one.data_missing or two.data_missing:
        raise Unreadable
    one, two = one.content, two.content
    first, second = one.status, two.status
    if first.st_size != second.st_size:
        return False
    if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino) or not first.st_size:
        return True
    one_fd = _open(one)
    try:
        two_fd = _open(two)
        try:
            return _same_ranges(one_fd, two_fd, first.st_size)
        finally:
            os.close(two_fd)
    finally:
        os.close(one_fd)


def _same_ranges(one_fd: int, two_fd: int, size: int) -> bool:
    """Compare up to `size` bytes, passing over ranges that are holes in both files."""
    offset = 0
    while offset < size:
        offset = min(_next_data(one_fd, offset, size), _next_data(two_fd, offset, size))
        if offset >= size:
            break
        length = min(CHUNK, size - offset)
        chunk = os.pread(one_fd, length, offset)
        other = os.pread(two_fd, length, offset)
        if chunk != other:
            return False
        if not chunk:
            # Both have shrunk while they were compared.
            return True
        offset += len(chunk)
    return True


def _next_data(fd: int, offset: int, size: int) -> int:
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
            return offset
        raise


def _open(item: Item) -> int:
    try:
        fd = os.open(item.name, OPEN_FILE, dir_fd=item.folder.fd())
    except OSError as error:
        if is_gone(error) or error.errno in _UNREADABLE:
            raise Unreadable from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Unreadable
    return fd
