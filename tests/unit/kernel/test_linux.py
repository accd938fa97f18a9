from __future__ import annotations

import ctypes
import errno
import os

import pytest

from substrate.kernel import linux
from substrate.kernel.constants import At, O
from substrate.kernel.syscalls import NUMBERS


def test_a_call_takes_numbers_bytes_buffers_and_nothing() -> None:
    fd = linux.syscall("openat", At.FDCWD, b"/proc/self/comm", O.RDONLY | O.CLOEXEC, 0)
    buffer = ctypes.create_string_buffer(16)
    try:
        assert linux.syscall("read", fd, buffer, 16) == len(buffer.value)
    finally:
        os.close(fd)
    assert buffer.value.endswith(b"\n")
    with pytest.raises(OSError, match="capset"):
        linux.syscall("capset", None, None)


def test_a_failure_is_an_oserror_with_the_name_of_the_call() -> None:
    with pytest.raises(FileNotFoundError, match="openat: No such file or directory") as caught:
        linux.syscall("openat", At.FDCWD, b"/nonexistent", O.RDONLY, 0)
    assert caught.value.errno == errno.ENOENT


def test_a_raw_call_returns_the_negative_errno() -> None:
    assert linux.raw_syscall(NUMBERS["close"], (-1 & 0xFFFFFFFF,)) == -errno.EBADF
    assert linux.raw_syscall(9999, ()) == -errno.ENOSYS


def test_an_unknown_call_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        linux.syscall("no_such_call")
