"""A classic BPF interpreter: what the kernel would answer for one system call.

Only the instructions that seccomp(2) accepts and our filters or libseccomp's use (kernel/seccomp.c,
`seccomp_check_filter`). A program that leaves its own bounds or uses another one is a `ValueError`.
"""

from __future__ import annotations

import operator
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

X86_64, X86, ARM, AARCH64, RISCV64 = 0xC000003E, 0x40000003, 0x40000028, 0xC00000B7, 0xC00000F3
X32_BIT = 0x40000000

_RET, _LOAD_WORD, _JUMP, _AND = 0x06, 0x20, 0x05, 0x54
_WORD = 0xFFFFFFFF


def _shares_bits(accumulator: int, k: int) -> bool:
    return bool(accumulator & k)


_CONDITIONS: dict[int, Callable[[int, int], bool]] = {
    0x15: operator.eq,
    0x25: operator.gt,
    0x35: operator.ge,
    0x45: _shares_bits,
}


class Instruction(NamedTuple):
    """One `struct sock_filter`."""

    code: int
    jump_true: int
    jump_false: int
    k: int


class Verdict(NamedTuple):
    """The value a filter returned, and how many instructions that took."""

    action: int
    steps: int


def decode(program: bytes) -> list[Instruction]:
    """Return the instructions of a `struct sock_filter` array."""
    return [Instruction(*fields) for fields in struct.iter_unpack("=HBBI", program)]


def syscall_data(arch: int, number: int, args: tuple[int, ...] = ()) -> bytes:
    """Return the `struct seccomp_data` of a little-endian machine."""
    words = [value & 0xFFFFFFFFFFFFFFFF for value in (*args, *[0] * (6 - len(args)))]
    return struct.pack("<IIQ6Q", number & _WORD, arch, 0, *words)


def run(program: list[Instruction], data: bytes) -> Verdict:
    """Run a filter over one system call."""
    accumulator = counter = steps = 0
    while counter < len(program):
        code, jump_true, jump_false, k = program[counter]
        counter += 1
        steps += 1
        if code == _LOAD_WORD:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code in _CONDITIONS:
            counter += jump_true if _CONDITIONS[code](accumulator, k) else jump_false
        elif code == _JUMP:
            counter += k
        elif code == _AND:
            accumulator &= k
        elif code == _RET:
            return Verdict(k, steps)
        else:
            message = f"instruction {counter - 1} has the unknown code {code:#x}"
            raise ValueError(message)
    message = f"the program runs past its end, to {counter} of {len(program)}"
    raise ValueError(message)


def verdict(program: bytes, arch: int, number: int, args: tuple[int, ...] = ()) -> int:
    """Return the action of a filter for one system call."""
    return run(decode(program), syscall_data(arch, number, args)).action
