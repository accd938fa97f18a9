"""Children in which a probe may change what it likes: they report over a pipe and die."""

from __future__ import annotations

import os
from contextlib import suppress

from substrate.kernel.constants import Clone, Ms, Pr
from substrate.kernel.linux import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# nobody: an id that certainly has no privilege, for probes of what ordinary users can do.
NOBODY = 65534


def try_in_child(attempt: Callable[[], None]) -> str:
    """Run `attempt` in a forked child; return "" when it succeeded, else the reason it did not.

    The child ends with `os._exit`, so nothing it changed (namespaces, ids, limits) reaches us.
    """
    reading_fd, writing_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        _report(attempt, writing_fd)
    os.close(writing_fd)
    with open(reading_fd, "rb") as pipe:
        reason = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return reason or ("" if code == 0 else f"the trying process ended with status {code}")


def become_unprivileged() -> None:
    """Give up root for good: no groups, no capability, uid and gid of nobody."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # A change of ids makes /proc/self belong to root, uid_map included; see prctl(2).
    syscall("prctl", Pr.SET_DUMPABLE, 1, 0, 0, 0)


def enter_namespaces(flags: int) -> None:
    """Unshare `flags`; with NEWUSER become root of a namespace that maps only our own ids."""
    uid, gid = os.geteuid(), os.getegid()
    syscall("unshare", flags)
    if flags & Clone.NEWUSER:
        # Without "deny" an unprivileged process may not write its gid_map; user_namespaces(7).
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    if flags & Clone.NEWNS:
        syscall("mount", b"none", b"/", None, Ms.REC | Ms.PRIVATE, None)


def enter_private_mounts() -> None:
    """Enter a mount namespace in which mounts can be made, as root or as anybody."""
    enter_namespaces(Clone.NEWNS if os.geteuid() == 0 else Clone.NEWNS | Clone.NEWUSER)


def kernel_words(error: Exception) -> str:
    """Return an error as `what: what the kernel said`, without Python's number in front."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _report(attempt: Callable[[], None], writing_fd: int) -> None:
    code = 1
    try:
        attempt()
        code = 0
    except Exception as error:  # whatever went wrong is the result
        with suppress(OSError):
            os.write(writing_fd, kernel_words(error).encode("utf-8", "replace") or b"failed")
    finally:
        os._exit(code)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
