"""Start look-ahead, the program that reads directories before a walk asks for them."""

from __future__ import annotations

import fcntl
import os

from substrate.kernel.spawn import IGNORED_BY_PYTHON, native_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_RUN_AHEAD_BYTES = 1 << 20


def start_look_ahead(
    root_fds: list[int], uppers: int, prefix: str, paths: Iterable[bytes]
) -> tuple[int, int]:
    """Start it on open trees, the topmost first; return its pid and what it writes.

    `native/look_ahead.c` says what that is. The last of `paths` is read first. The caller closes
    the descriptor, then waits for the process, which by then ends. Raises `DependencyError` when
    the program was not built, and `OSError` when no process can be had.
    """
    listed = os.memfd_create("paths", os.MFD_CLOEXEC)
    try:
        with open(listed, "wb", closefd=False) as file:
            file.writelines(path + b"\0" for path in paths)
        os.lseek(listed, 0, os.SEEK_SET)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            _enlarge(write_fd)
            return _start(listed, write_fd, root_fds, uppers, prefix), read_fd
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
    finally:
        os.close(listed)


def _start(listed: int, write_fd: int, root_fds: list[int], uppers: int, prefix: str) -> int:
    streams = [(os.POSIX_SPAWN_DUP2, listed, 0), (os.POSIX_SPAWN_DUP2, write_fd, 1)]
    # dup2 onto itself clears close-on-exec in the child alone.
    roots = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in root_fds]
    words = ["look-ahead", str(uppers), prefix, *map(str, root_fds)]
    program = native_program("look-ahead")
    # SIGPIPE is among those: it ends a program that nobody listens to.
    return os.posix_spawn(
        program, words, {}, file_actions=[*roots, *streams], setsigdef=IGNORED_BY_PYTHON
    )


def _enlarge(pipe_fd: int) -> None:
    """Let it be further ahead than a pipe's usual 64 KiB, where the user's quota allows that."""
    try:
        fcntl.fcntl(pipe_fd, fcntl.F_SETPIPE_SZ, _RUN_AHEAD_BYTES)
    except OSError:
        return
