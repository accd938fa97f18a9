"""A shell that stays with its jobs: what is open for it, and when that is closed."""

from __future__ import annotations

import os

from substrate.cli.front.staying import StayingShell
from substrate.world.process import Started


def test_whoever_asks_a_shell_that_has_ended_writes_into_nobody_s_file() -> None:
    orders, answers = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    master, slave = os.openpty()
    os.close(slave)
    before = _open_numbers()
    started = Started(os.posix_spawn("/bin/true", ["true"], {}), master)
    shell = StayingShell(started, orders[1], answers[0], lambda _data: None, lambda _shell: None)
    numbers = _open_numbers() - before
    shell.follow()
    assert shell.has_ended(20)
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    pidfd = os.pidfd_open(os.getpid())
    # They are given to others, as another thread may get them.
    given = {os.dup2(write, number, inheritable=False) for number in numbers - {read, write, pidfd}}
    try:
        assert len(given) > 1
        assert shell.bring_to_front(1, pidfd, None, 0) is None
        shell.dismiss()
        os.write(write, b"mine")
        assert os.read(read, 100) == b"mine"
    finally:
        for fd in (*given, read, write, pidfd, orders[0], answers[1]):
            os.close(fd)


def _open_numbers() -> set[int]:
    """The descriptors that are open now."""
    folder = os.open("/proc/self/fd", os.O_RDONLY)
    try:
        return set(map(int, os.listdir(folder))) - {folder}
    finally:
        os.close(folder)
