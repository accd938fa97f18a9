"""What /proc says of a process, and the files of it that set up a user namespace.

A pid alone names nobody: it is reused. With the start time beside it, it does.
"""

from __future__ import annotations

import errno
import os

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ZOMBIE = ("Z", "X")
_CAP_SYS_ADMIN = 21


def start_time(pid: int) -> int | None:
    """Return when a process started (clock ticks since boot), None when it is not alive.

    A zombie is not alive: it runs nothing and has no namespaces any more.
    """
    status = _stat(pid)
    if status is None or status[0] in _ZOMBIE:
        return None
    return int(status[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that had `pid` and started at `started` still runs."""
    return start_time(pid) == started


def open_pidfd(pid: int, started: int) -> int | None:
    """Return a pidfd of that very process, None when it is gone or is another one."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise
    # Checked after the descriptor is taken: from here on the pid cannot be reused unnoticed.
    if is_alive(pid, started):
        return pidfd
    os.close(pidfd)
    return None


def identify(find: Callable[[], Iterable[int]]) -> dict[int, int]:
    """Return the processes that `find` finds by their pids, for `open_pidfd`: pid -> start time.

    It is asked twice. The pid of one that has ended since the first time may be another's when its
    start time is read; one that is found again with that start time is of those.
    """
    started = {pid: start_time(pid) for pid in find()}
    again = set(find()) if started else set()
    return {pid: time for pid, time in started.items() if time is not None and pid in again}


def processes_of_group(group: int, session: int) -> list[int]:
    """Return the pids of the processes that are in a group and a session."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        status = _stat(int(name)) if name.isdigit() else None
        if status is not None and status[2:4] == [str(group), str(session)]:
            found.append(int(name))
    return found


def write_process_file(pid: int, name: str, content: str) -> None:
    """Write /proc/PID/NAME in one write, as the id maps demand."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content.encode())
    finally:
        os.close(fd)


def map_lines(mappings: Iterable[tuple[int, int, int]]) -> str:
    """Return (inside, outside, size) triples in the format of uid_map; user_namespaces(7)."""
    return "".join(f"{inside} {outside} {size}\n" for inside, outside, size in mappings)


def is_privileged() -> bool:
    """Whether this process may make mounts and namespaces without a user namespace.

    Read from /proc, because python-prctl costs 1 ms to import, an eighth of a whole verb.
    """
    if os.geteuid() != 0:
        return False
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def is_deaf_init(pid: int, number: int) -> bool:
    """Whether `pid` is the first of a pid namespace, and signal `number` would do nothing to it.

    For such a process the default action is no action; pid_namespaces(7). One that blocks or
    ignores the signal has decided so itself, and is not deaf.
    """
    masks = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                key, *values = line.split()
                if key == b"NSpid:" and (len(values) == 1 or values[-1] != b"1"):
                    return False
                if key in (b"SigBlk:", b"SigIgn:", b"SigCgt:"):
                    masks |= int(values[0], 16)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not masks >> (number - 1) & 1


def namespace_inode(pid: int | str, kind: str) -> int | None:
    """Return the inode that identifies a process's namespace, None when it cannot be read."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def processes_in(kind: str, inode: int) -> list[int]:
    """Return the pids of the processes whose namespace of that kind is this one."""
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and namespace_inode(name, kind) == inode
    ]


def has_children(pid: int) -> bool:
    """Whether a process has children, in whatever namespaces; also when that cannot be known."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return bool(file.read(1))
    except OSError:
        return True


def descendants(pid: int) -> list[int]:
    """Return the pids of all that descend from a process, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        status = _stat(int(name)) if name.isdigit() else None
        if status is not None and status[0] not in _ZOMBIE:
            children.setdefault(int(status[1]), []).append(int(name))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


@record
class MountLine:
    """One mount of a mountinfo file; proc_pid_mountinfo(5). `root` is what of the file system."""

    point: str
    root: str
    options: tuple[str, ...]
    type: str


def mount_lines(path: str = "/proc/self/mountinfo") -> Iterator[MountLine]:
    """Yield the mounts that a file like /proc/PID/mountinfo lists, the topmost last."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        yield from parse_mount_lines(file)


def parse_mount_lines(lines: Iterable[str]) -> Iterator[MountLine]:
    """Yield the mounts of a mountinfo file's lines; what is no such line is left out."""
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) > 5:
            options = tuple(words[5].split(","))
            type_ = after.split(" ", 1)[0]
            yield MountLine(_unescape(words[4]), _unescape(words[3]), options, type_)


def filesystem_type(path: str) -> str:
    """Return the type of the file system that a path is, or would be, on; "" when unknown."""
    here, best, kind = os.path.realpath(path).rstrip("/") + "/", "", ""
    for line in mount_lines():
        point = line.point.rstrip("/") + "/"
        if here.startswith(point) and len(point) >= len(best):
            best, kind = point, line.type
    return kind


def _unescape(field: str) -> str:
    # The kernel writes space, tab, newline and backslash as three octal digits.
    for octal in ("040", "011", "012", "134"):
        field = field.replace("\\" + octal, chr(int(octal, 8)))
    return field


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            content = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, which may hold anything.
    return content[content.rindex(b")") + 2 :].decode().split()
