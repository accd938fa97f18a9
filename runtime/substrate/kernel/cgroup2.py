"""The files of one cgroup, by the descriptor of its directory.

Nothing here makes a directory where no cgroup2 is: `open_root` looks at the file system's type,
and everything below is reached from such a descriptor, a name at a time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import time

from substrate.errors import UnsupportedError
from substrate.kernel.linux import raw_syscall
from substrate.kernel.syscalls import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# statfs(2)'s f_type of cgroup2, include/uapi/linux/magic.h; os.statvfs does not tell it.
_MAGIC = 0x63677270
_FSTATFS = 138 if MACHINE == "x86_64" else 44
_STATFS_SIZE = 120
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A descriptor is open for each level, of 1,024 that a process commonly may have.
_DEEPEST = 500
# ENODEV: the cgroup was removed while its file was open (kernfs).
GONE = (errno.ENOENT, errno.ENODEV)


def is_cgroup2(fd: int) -> bool:
    """Whether a descriptor's file lies on a cgroup2 file system."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    result = raw_syscall(_FSTATFS, (fd, ctypes.addressof(buffer)))
    return result == 0 and ctypes.c_long.from_buffer(buffer).value == _MAGIC


def open_root(path: str) -> int:
    """Open a directory by its path; raises `UnsupportedError` when it is no cgroup2's."""
    fd = os.open(path, _DIRECTORY)
    if not is_cgroup2(fd):
        os.close(fd)
        message = f"{path} is not on a cgroup2 file system"
        raise UnsupportedError(message, "substrate doctor")
    return fd


def open_child(fd: int, name: str) -> int:
    """Open the cgroup called `name` below."""
    return os.open(name, _DIRECTORY, dir_fd=fd)


def children(fd: int) -> list[str]:
    """Return the names of the cgroups below."""
    names: list[str] = []
    try:
        with os.scandir(fd) as listing:
            names.extend(entry.name for entry in listing if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        if error.errno not in GONE:
            raise
    return names


def read(fd: int, name: str) -> str | None:
    """Return the content of a file without its last newline, None when it is not there."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None
    try:
        parts: list[bytes] = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    finally:
        os.close(file)
    return b"".join(parts).decode("utf-8", "surrogateescape").rstrip("\n")


def write(fd: int, name: str, value: str) -> None:
    """Write a value in one write(2), which the kernel takes or refuses as a whole."""
    file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=fd)
    try:
        os.write(file, value.encode("utf-8", "surrogateescape"))
    finally:
        os.close(file)


def pairs(text: str | None) -> dict[str, int]:
    """Return a flat keyed file (`memory.events`, `cpu.stat`); what is no number is left out."""
    found: dict[str, int] = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found


def processes(fd: int) -> list[int]:
    """Return the pids in this cgroup alone, without those that our pid namespace cannot see."""
    try:
        text = read(fd, "cgroup.procs")
    except OSError as error:
        # The processes of a threaded cgroup are listed by the domain above it.
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
    return [int(line) for line in (text or "").split() if line != "0"]


def events(fd: int) -> dict[str, int]:
    """Return cgroup.events: whether anything below is `populated`, and all of it `frozen`."""
    return pairs(read(fd, "cgroup.events"))


def wait_event(fd: int, key: str, value: int, timeout_s: float) -> bool:
    """Wait until cgroup.events says so; False when the time is over. A removed cgroup is empty."""
    try:
        file = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        if error.errno in GONE:
            return True
        raise
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(file, select.POLLPRI)
    try:
        # The file is read before each wait: poll reports what changed since the last reading.
        while pairs(os.pread(file, 4096, 0).decode()).get(key) != value:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(left * 1000)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    finally:
        os.close(file)
    return True


def below(fd: int, depth: int = 64) -> Iterator[tuple[int, str, int]]:
    """Yield every cgroup below, deepest first: its parent, its name in there, and itself.

    The descriptors are borrowed until the next one. Raises `UnsupportedError` when they are
    nested deeper than `depth`.
    """
    if depth == 0:
        message = "the cgroups of the world are nested too deeply"
        raise UnsupportedError(message, "remove some of them with rmdir")
    for name in children(fd):
        try:
            inner = open_child(fd, name)
        except OSError as error:
            if error.errno in GONE:
                continue
            raise
        try:
            yield from below(inner, depth - 1)
            yield fd, name, inner
        finally:
            os.close(inner)


def remove_below(fd: int) -> None:
    """Remove every cgroup below, deepest first; raises OSError (EBUSY) while processes are in."""
    for parent, name, _ in below(fd, _DEEPEST):
        remove(parent, name)


def remove(fd: int, name: str) -> None:
    """Remove the cgroup called `name`; it may be gone already."""
    try:
        os.rmdir(name, dir_fd=fd)
    except OSError as error:
        if error.errno not in GONE:
            raise
