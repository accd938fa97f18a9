"""The Python executor: runs the image of a plan with one ctypes call per op.

Runs in a forked child, never in the runtime itself, and only up to the plan's hand-over: from
there on the native one takes the same image, so that no Python stays resident in a world and the
interpreter's binary is never what `/proc/PID/exe` of a payload points to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from substrate.kernel import messages, signals
from substrate.kernel.linux import raw_syscall
from substrate.kernel.plan import (
    ANY_ERROR,
    EXPECT,
    FAIL,
    HEADER,
    IDLE,
    JUMP,
    KIND_CELL,
    KIND_POINTER,
    LEAVE,
    OP,
    OP_SIZE,
    REAP,
    RESET,
    TRY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UINT32 = struct.Struct("=I")
_HEADER_START = 8
# SIGKILL and SIGSTOP have none that could be set; 32 and 33 are the threads library's.
_NO_ACTION = {9, 19, 32, 33}
_NATIVE_ONLY = REAP | IDLE | TRY | FAIL


class Image:
    """A plan's binary form in this process's memory, relocated to where it lies."""

    def __init__(self, encoded: bytearray) -> None:
        self._memory = (ctypes.c_char * len(encoded)).from_buffer(encoded)
        self._bytes = encoded
        fields = HEADER.unpack_from(encoded, 0)
        (_, _, self.op_count, self._relocation_count, self._ops_at, self._relocations_at,
         self._arena_at, _, _, self._report_cell, _, _) = fields  # fmt: skip
        self._base: int = ctypes.addressof(self._memory) + self._arena_at
        self._shift_pointers(self._base)

    def encoded_from(self, start: int) -> bytes:
        """Return the image, position-independent again, to be continued at op `start`."""
        self._shift_pointers(-self._base)
        fields = list(HEADER.unpack_from(self._bytes, 0))
        fields[_HEADER_START] = start
        HEADER.pack_into(self._bytes, 0, *fields)
        return bytes(self._bytes)

    def op(self, index: int) -> tuple[Any, ...]:
        """Return the fields of op `index` as `plan.OP` orders them."""
        return OP.unpack_from(self._bytes, self._ops_at + index * OP_SIZE)

    def cell(self, offset: int) -> int:
        """Return the value of the cell at an arena offset."""
        return int(ctypes.c_int32.from_address(self._base + offset).value)

    @property
    def report_fd(self) -> int:
        """The descriptor failures are reported on."""
        return self.cell(self._report_cell)

    def perform(self, op: tuple[int, ...]) -> int:
        """Make the op's call, store its result, and return it; failure is `-errno`."""
        number, flags, store, _, _, expected = op[:6]
        args = tuple(self._argument(flags >> (2 * i) & 3, op[9 + i]) for i in range(6))
        result = raw_syscall(number, args)
        while result == -errno.EINTR:
            result = raw_syscall(number, args)
        if store and result >= 0:
            ctypes.c_int32.from_address(self._base + store).value = result
        if result >= 0 and flags & EXPECT and result != expected:
            return -errno.EPROTO
        return result

    def _argument(self, kind: int, word: int) -> int:
        if kind == KIND_POINTER:
            return self._base + word
        if kind == KIND_CELL:
            return self.cell(word) & 0xFFFF_FFFF_FFFF_FFFF
        return word

    def _shift_pointers(self, distance: int) -> None:
        for index in range(self._relocation_count):
            (at,) = _UINT32.unpack_from(self._bytes, self._relocations_at + 4 * index)
            word = ctypes.c_uint64.from_address(self._base + at)
            word.value += distance


def run(image: Image, stop: int) -> None:
    """Run the ops before `stop`. Ends the process on failure, after reporting it."""
    index = 0
    while index < stop:
        op = image.op(index)
        flags, skip, ignore = op[1], op[3], op[6:9]
        if flags & _NATIVE_ONLY:
            _fail(image, index, errno.ENOSYS)
        if flags & RESET:
            _reset_signals()
            index += 1
            continue
        if flags & JUMP:
            index += 1 + skip
            continue
        result = image.perform(op)
        if result > 0 and flags & LEAVE:
            os.write(image.report_fd, messages.pack(messages.PID, result))
            os._exit(0)
        if result < 0:
            if ANY_ERROR not in ignore and -result not in ignore:
                _fail(image, index, -result)
            index += skip
        index += 1


def _reset_signals() -> None:
    for number in signals.all_numbers() - _NO_ACTION:
        signals.handle(number, signals.DEFAULT)
    signals.unblock_all()


def _fail(image: Image, index: int, number: int) -> None:
    os.write(image.report_fd, messages.pack(messages.ERROR, index << 12 | number))
    os._exit(127)
