"""System calls from Python: one `syscall()` through ctypes, with errno turned into OSError.

Pointers are passed as `bytes` or ctypes buffers, which must outlive the call. What glibc wraps
well is called through `os` instead.
"""

from __future__ import annotations

import ctypes
import os

from substrate.kernel.syscalls import NUMBERS

# PyDLL keeps the interpreter lock: the calls here do not block for long, and a fork made through
# it must not let another thread run in between.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def syscall(name: str, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make the system call `name` and return its result.

    Integers are passed as 64-bit words (negative ones sign-extended), bytes as pointers to their
    content, None as a null pointer. Raises OSError with errno and the call's name.
    """
    result: int = _syscall(ctypes.c_long(NUMBERS[name]), *map(_argument, args))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def raw_syscall(number: int, args: tuple[int, ...]) -> int:
    """Make a system call on plain words and return its result, `-errno` on failure."""
    result: int = _syscall(ctypes.c_long(number), *map(ctypes.c_ulong, args))
    return -ctypes.get_errno() if result == -1 else result


def _argument(value: int | bytes | ctypes.Array[ctypes.c_char] | None) -> object:
    if isinstance(value, int):
        return ctypes.c_long(value)
    if value is None:
        return ctypes.c_void_p(None)
    if isinstance(value, bytes):
        return ctypes.c_char_p(value)
    return value
