"""Probes of namespaces: each is entered in a child."""

from __future__ import annotations

import os
import shutil

from substrate.host.children import become_unprivileged, enter_namespaces, try_in_child
from substrate.kernel.constants import Clone, Pr
from substrate.kernel.linux import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_OTHERS = Clone.NEWNS | Clone.NEWPID | Clone.NEWNET | Clone.NEWIPC | Clone.NEWUTS | Clone.NEWCGROUP


def user() -> str:
    """Try a user namespace with our own ids mapped."""
    return try_in_child(lambda: enter_namespaces(Clone.NEWUSER))


def user_unprivileged() -> str:
    """Try the same as an ordinary user."""

    def attempt() -> None:
        become_unprivileged()
        enter_namespaces(Clone.NEWUSER)

    return try_in_child(attempt)


def others() -> str:
    """Try all namespaces of a world but the user's and the clock's."""
    own_user = 0 if os.geteuid() == 0 else Clone.NEWUSER
    return try_in_child(lambda: enter_namespaces(_OTHERS | own_user))


def time() -> str:
    """Try a time namespace with another boot time."""

    def attempt() -> None:
        own_user = 0 if os.geteuid() == 0 else Clone.NEWUSER
        enter_namespaces(Clone.NEWTIME | own_user)
        with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
            file.write("boottime 3600 0")

    return try_in_child(attempt)


def newuidmap() -> str:
    """Try newuidmap(1) with a range of /etc/subuid, as the user who owns the range."""
    program = shutil.which("newuidmap", path="/usr/bin:/bin:/usr/local/bin")
    if program is None:
        return "there is no program newuidmap"
    granted = _subordinate_range()
    if granted is None:
        return f"/etc/subuid gives no range to {_who()}"
    uid, gid, first, count = granted

    def attempt() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        # newuidmap looks at the owner of our /proc entry, which a change of ids gave to root.
        syscall("prctl", Pr.SET_DUMPABLE, 1, 0, 0, 0)
        _map_with(program, first, count)

    return try_in_child(attempt)


def _map_with(program: str, first: int, count: int) -> None:
    target = os.getpid()
    told_fd, tell_fd = os.pipe()
    tool = os.fork()
    if tool == 0:
        os.close(tell_fd)
        _run_when_told(told_fd, [program, str(target), "0", str(first), str(count)])
    os.close(told_fd)
    syscall("unshare", Clone.NEWUSER)
    os.write(tell_fd, b"x")
    _, status = os.waitpid(tool, 0)
    if status:
        message = f"newuidmap ended with status {os.waitstatus_to_exitcode(status)}"
        raise OSError(message)


def _run_when_told(told_fd: int, argv: list[str]) -> NoReturn:
    try:
        # Nothing to read: whoever should have told us has failed and is gone.
        if os.read(told_fd, 1):
            os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
            os.execve(argv[0], argv, {})
    finally:
        os._exit(127)


def _subordinate_range(path: str = "/etc/subuid") -> tuple[int, int, int, int] | None:
    # Root has ranges seldom and needs none; it tries with the first user who has one.
    import pwd

    wanted = os.geteuid()
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        return None
    for name, first, count in (line for line in lines if len(line) == 3):
        try:
            user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid == wanted or (wanted == 0 and user.pw_uid != 0):
            return user.pw_uid, user.pw_gid, int(first), int(count)
    return None


def _who() -> str:
    return "any user" if os.geteuid() == 0 else f"uid {os.geteuid()}"
