"""The plan: a flat list of system calls with their memory, to be run in another process.

A plan is data. It holds no address and no descriptor: pointers are offsets into its arena, and
descriptors live in cells (32-bit words of the arena) that are filled as *inputs* before a run or
by the result of an earlier call. So it can be printed, compared, cached and run by either executor
(`interpret.py` in Python, `native/world_init.c` without it), with the same effect.

The binary form (`encode`) is what both executors read; `native/world_init.c` declares the same
structures. Words are native-endian: a plan never leaves its machine.
"""

from __future__ import annotations

import struct

from substrate.kernel.syscalls import NUMBERS
from substrate.record import as_dict, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAGIC = 0x53554253
VERSION = 1
HEADER = struct.Struct("=12I")
OP = struct.Struct("=iIiHHi3i6Q")
OP_SIZE = OP.size
_SKIP = struct.Struct("=H")
_SKIP_AT = 12
_INPUT = struct.Struct("=i")
_WORD, _LARGEST = 0xFFFF_FFFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF
_NO_WORDS, _NOTHING_IGNORED = (0,) * 6, (0,) * 3

KIND_WORD, KIND_POINTER, KIND_CELL = 0, 1, 2

# Flags of an op, above the six two-bit argument kinds and, for whoever reads them, their number.
_COUNT_SHIFT, _COUNT_MASK = 12, 7
EXPECT = 1 << 16  # the result must equal `expect`, or the call counts as failed with EPROTO
LEAVE = 1 << 17  # the call forks: the parent reports the child's pid and exits
REAP = 1 << 18  # the call forks: the parent becomes the reaping init of the child
IDLE = 1 << 19  # no call: become the reaping init of whoever comes
TRY = 1 << 20  # on failure remember the error (EACCES wins) and go on
FAIL = 1 << 21  # no call: fail with the error remembered by TRY
JUMP = 1 << 22  # no call: skip
RESET = 1 << 23  # no call: default action for every signal, none blocked

ANY_ERROR = -1


@record
class Pointer:
    """The address of arena byte `offset`, once the arena is in memory."""

    offset: int


@record
class Cell:
    """A 32-bit word of the arena; as an argument it stands for its value at that time."""

    offset: int

    @property
    def address(self) -> Pointer:
        """Where the cell lies."""
        return Pointer(self.offset)


@record
class Op:
    """One system call: number, arguments, and what its result means."""

    number: int
    flags: int
    args: tuple[int, ...]
    store: int
    skip: int
    step: int
    expect: int
    ignore: tuple[int, ...]


@record
class Plan:
    """A finished plan. `steps` are the sentences errors are told in, by `Op.step`.

    `code` are the ops in their binary form, which is how they are written: making a record of
    each would cost more than half of the time that a command takes to be planned.
    """

    code: bytes
    arena: bytes
    relocations: tuple[int, ...]
    inputs: tuple[tuple[str, int], ...]
    steps: tuple[str, ...]
    report_cell: int
    handover: int

    @property
    def ops(self) -> tuple[Op, ...]:
        """The ops, for whoever reads them."""
        return tuple(_unpacked(fields) for fields in OP.iter_unpack(self.code))

    def encode(self, inputs: dict[str, int], start: int = 0) -> bytearray:
        """Return the binary form, with the value of every input filled in.

        Raises KeyError when an input has no value: a plan never runs on a guess.
        """
        ops_at = HEADER.size
        relocations_at = ops_at + len(self.code)
        arena_at = -(-(relocations_at + 4 * len(self.relocations)) // 16) * 16
        image = bytearray(arena_at)
        HEADER.pack_into(
            image, 0, MAGIC, VERSION, len(self.code) // OP_SIZE, len(self.relocations), ops_at,
            relocations_at, arena_at, len(self.arena), start, self.report_cell, 0, 0,
        )  # fmt: skip
        image[ops_at:relocations_at] = self.code
        struct.pack_into(f"={len(self.relocations)}I", image, relocations_at, *self.relocations)
        image += self.arena
        for name, offset in self.inputs:
            _INPUT.pack_into(image, arena_at + offset, inputs[name])
        return image

    def dump(self) -> tuple[object, ...]:
        """Return the plan as plain values, which `marshal` can store."""
        return tuple(as_dict(self).values())


def load(dumped: tuple[Any, ...]) -> Plan:
    """Return the plan of `Plan.dump()`."""
    return Plan(*dumped)


def packed(op: Op) -> bytes:
    """Return the binary form of an op."""
    args, ignore = _filled(op.args, 6), _filled(op.ignore, 3)
    flags = op.flags | len(op.args) << _COUNT_SHIFT
    return OP.pack(
        op.number, flags, op.store, op.skip, op.step, op.expect, *ignore,
        *(arg & _WORD for arg in args),
    )  # fmt: skip


def _unpacked(fields: tuple[int, ...]) -> Op:
    number, flags, store, skip, step, expect = fields[:6]
    count = flags >> _COUNT_SHIFT & _COUNT_MASK
    ignore = tuple(number for number in fields[6:9] if number)
    # As they were given: below zero are the likes of AT_FDCWD.
    args = tuple(word - (_WORD + 1 if word > _LARGEST else 0) for word in fields[9 : 9 + count])
    flags &= ~(_COUNT_MASK << _COUNT_SHIFT)
    return Op(number, flags, args, store, skip, step, expect, ignore)


def _filled(values: tuple[int, ...], size: int) -> tuple[int, ...]:
    return values + (0,) * (size - len(values))


class PlanBuilder:
    """Collects calls in order; steps write themselves into it."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._arena = bytearray(16)  # offset 0 is never handed out, so it can mean "none"
        self._relocations: list[int] = []
        self._cells: dict[str, Cell] = {}
        self._inputs: dict[str, int] = {}
        self._placed_inputs: list[tuple[str, int]] = []
        self._texts: dict[bytes, Pointer] = {}  # content that no call changes
        self._steps: list[str] = []
        self._report: Cell | None = None
        self._handover = -1

    def copy(self) -> PlanBuilder:
        """Return a builder that goes on from here, with this one left as it is."""
        made = PlanBuilder()
        for name, value in vars(self).items():
            copied = isinstance(value, (bytearray, list, dict))
            setattr(made, name, value.copy() if copied else value)
        return made

    def begin_step(self, description: str) -> None:
        """Attribute the calls that follow to a step, named as its error message names it."""
        self._steps.append(description)

    def data(self, content: bytes, align: int = 8) -> Pointer:
        """Place bytes in the arena and return where."""
        self._arena += bytes(-len(self._arena) % align)
        pointer = Pointer(len(self._arena))
        self._arena += content
        return pointer

    def text(self, value: str) -> Pointer:
        """Place a string, NUL-terminated, in the file system's encoding; equal ones once."""
        raw = value.encode("utf-8", "surrogateescape") + b"\0"
        if b"\0" in raw[:-1]:
            message = f"{value!r} holds a NUL byte"
            raise ValueError(message)
        if raw not in self._texts:
            self._texts[raw] = self.data(raw, align=1)
        return self._texts[raw]

    def constant(self, content: bytes) -> Pointer:
        """Place bytes that no call writes to; equal ones once."""
        if content not in self._texts:
            self._texts[content] = self.data(content)
        return self._texts[content]

    def structure(self, content: bytes, pointers: Iterable[tuple[int, Pointer]]) -> Pointer:
        """Place a structure with pointers in it, given as (offset in the structure, target)."""
        place = self.data(content)
        for offset, target in pointers:
            at = place.offset + offset
            struct.pack_into("=Q", self._arena, at, target.offset)
            self._relocations.append(at)
        return place

    def string_array(self, values: Iterable[str]) -> Pointer:
        """Place a NULL-terminated array of strings, as execve(2) takes it."""
        targets = [self.text(value) for value in values]
        return self.structure(
            bytes(8 * (len(targets) + 1)),
            [(8 * index, target) for index, target in enumerate(targets)],
        )

    def cell(self, name: str) -> Cell:
        """Return the cell of that name; before anything is stored in it, it holds -1."""
        if name not in self._cells:
            self._cells[name] = Cell(self.data(b"\xff\xff\xff\xff", align=4).offset)
        return self._cells[name]

    def cell_at(self, name: str, offset: int) -> Cell:
        """Name a word inside data placed before (a descriptor in a control message)."""
        self._cells[name] = Cell(offset)
        return self._cells[name]

    def input(self, name: str) -> Cell:
        """Return the cell of that name, to be filled in before the run."""
        cell = self.cell(name)
        self._inputs[name] = cell.offset
        return cell

    def input_at(self, name: str, offset: int) -> None:
        """Have an input's value put into data placed before, as well as into its cell."""
        self._placed_inputs.append((name, offset))

    def report_to(self, cell: Cell) -> None:
        """Name the cell whose descriptor failures are reported on."""
        self._report = cell

    def hand_over(self) -> None:
        """Mark where the Python executor gives the rest of the plan to the native one."""
        self._handover = len(self._code) // OP_SIZE

    def call(
        self,
        name: str,
        *args: int | Pointer | Cell,
        store: Cell | None = None,
        ignore: tuple[int, ...] = (),
        expect: int | None = None,
        flags: int = 0,
    ) -> int:
        """Append a system call and return its index.

        A result in `ignore` (errno values, or `ANY_ERROR`) does not fail the plan; any other
        error does. `expect` is a result the call must return.
        """
        flags |= len(args) << _COUNT_SHIFT
        words: list[int] = []
        for position, arg in enumerate(args):
            if isinstance(arg, int):
                words.append(arg & _WORD)
                continue
            flags |= (KIND_POINTER if isinstance(arg, Pointer) else KIND_CELL) << (2 * position)
            words.append(arg.offset)
        if expect is not None:
            flags |= EXPECT
        self._code += OP.pack(
            NUMBERS[name] if name else -1,
            flags,
            store.offset if store else 0,
            0,
            len(self._steps) - 1 if self._steps else 0,
            expect or 0,
            *(_filled(ignore, 3) if ignore else _NOTHING_IGNORED),
            *words,
            *_NO_WORDS[len(words) :],
        )
        return len(self._code) // OP_SIZE - 1

    def jump(self) -> int:
        """Append an op that skips, to be told where to by `skip_to_here`; returns its index."""
        return self.call("", flags=JUMP)

    def skip_to_here(self, index: int) -> None:
        """Let op `index` skip all calls up to here: a JUMP always, a call on an ignored error."""
        skip = len(self._code) // OP_SIZE - index - 1
        _SKIP.pack_into(self._code, index * OP_SIZE + _SKIP_AT, skip)

    def finish(self) -> Plan:
        """Return the finished plan."""
        if self._report is None:
            message = "the plan names no descriptor to report failures on"
            raise ValueError(message)
        handover = self._handover if self._handover >= 0 else len(self._code) // OP_SIZE
        return Plan(
            code=bytes(self._code),
            arena=bytes(self._arena),
            relocations=tuple(self._relocations),
            inputs=(*self._inputs.items(), *self._placed_inputs),
            steps=tuple(self._steps),
            report_cell=self._report.offset,
            handover=handover,
        )
