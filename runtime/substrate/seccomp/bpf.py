"""Writes classic BPF for seccomp(2): a search tree over system call numbers.

A fragment is a list of instructions of which every path returns or falls off its end; jumps are
relative, so fragments are joined by concatenation. The tree runs about ten instructions for any
call, and loads in a quarter of the time of a linear list: the kernel walks every filter once per
number when it is loaded (`seccomp_cache_prepare`).
"""

from __future__ import annotations

import struct

from substrate.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from substrate.seccomp.policy import Condition
    from substrate.seccomp.table import Decision

    Instruction = tuple[int, int, int, int]
    Ranges = list[tuple[int, Decision]]

_LD_ABS, _RET, _JA, _AND = 0x20, 0x06, 0x05, 0x54
_JEQ, _JGT, _JGE = 0x15, 0x25, 0x35
# Offsets in struct seccomp_data.
_NR, _ARCH, _ARGS = 0, 4, 16
# BPF_MAXINSNS.
_MAX_INSTRUCTIONS = 4096
_FAR = 255
# Targets of a jump inside a clause, resolved once the clause's length is known.
_NEXT, _HOLDS, _FAILS = 0, -1, -2


def assemble(sections: Sequence[tuple[int, Ranges, int]], other: int) -> bytes:
    """Return a filter: one (audit architecture, ranges, bits) each, `other` for the rest.

    Ranges are (first number, decision), ascending, the first from 0.
    """
    code: list[Instruction] = [(_LD_ABS, 0, 0, _ARCH)]
    for audit, ranges, bits in sections:
        body = [(_LD_ABS, 0, 0, _NR), *_tree(ranges, bits)]
        # BPF_JA reaches any distance, a conditional jump 255 instructions.
        code += [(_JEQ, 1, 0, audit), (_JA, 0, 0, len(body)), *body]
    code.append(_return(other))
    if len(code) > _MAX_INSTRUCTIONS:
        message = f"compiling a seccomp filter: {len(code)} instructions, the kernel takes 4096"
        raise UnsupportedError(message, hint="use fewer conditions on arguments in the profile")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _return(action: int) -> Instruction:
    return (_RET, 0, 0, action)


def _tree(ranges: Ranges, bits: int) -> list[Instruction]:
    """Return a search over ranges: one block where it is small enough, else two halves."""
    block = _block(ranges, bits)
    if block is not None:
        return block
    middle = len(ranges) // 2
    low, high = _tree(ranges[:middle], bits), _tree(ranges[middle:], bits)
    return [(_JGE, 0, 1, ranges[middle][0]), (_JA, 0, 0, len(low)), *low, *high]


def _block(ranges: Ranges, bits: int) -> list[Instruction] | None:
    """Return the comparisons and then each distinct decision once, None when jumps get too far.

    Adjacent ranges mostly alternate between the same few answers, so sharing them halves the
    filter, and with it the time to load it.
    """
    nodes: list[tuple[int, int | Decision, int | Decision]] = []

    def grow(part: Ranges) -> int | Decision:
        if len(part) == 1:
            return part[0][1]
        middle = len(part) // 2
        here = len(nodes)
        nodes.append((part[middle][0], 0, 0))
        low, high = grow(part[:middle]), grow(part[middle:])
        nodes[here] = (part[middle][0], high, low)
        return here

    grow(ranges)
    places: dict[Decision, int] = {}
    answers: list[Instruction] = []
    for _, decision in ranges:
        if decision not in places:
            places[decision] = len(nodes) + len(answers)
            answers += _decision(decision, bits)
    if len(ranges) > 1 and max(places.values()) > _FAR:
        return None
    code: list[Instruction] = []
    for here, (pivot, *targets) in enumerate(nodes):
        when_true, when_false = (
            (target if isinstance(target, int) else places[target]) - here - 1 for target in targets
        )
        code.append((_JGE, when_true, when_false, pivot))
    return code + answers


def _decision(decision: Decision, bits: int) -> list[Instruction]:
    code: list[Instruction] = []
    for conditions, action in decision.clauses:
        code += _clause(conditions, action, bits)
    return [*code, _return(decision.otherwise)]


def _clause(conditions: Sequence[Condition], action: int, bits: int) -> list[Instruction]:
    checks = [_check(condition, bits) for condition in conditions]
    length = sum(map(len, checks))
    code: list[Instruction] = []
    for check in checks:
        end = len(code) + len(check)
        for opcode, when_true, when_false, k in check:
            places = {_NEXT: len(code) + 1, _HOLDS: end, _FAILS: length + 1}
            here = len(code) + 1
            code.append((opcode, places[when_true] - here, places[when_false] - here, k))
    return [*code, _return(action)]


def _check(condition: Condition, bits: int) -> list[Instruction]:
    """Return the comparison of one argument; little-endian halves, the high one first."""
    low = _ARGS + 8 * condition.index
    wide = bits == 64
    value_high, value_low = condition.value >> 32, condition.value & 0xFFFFFFFF
    if condition.operator == "MASKED_EQ":
        # Bits of the datum outside the mask are ignored, as libseccomp does.
        datum = condition.value & condition.value_two
        code = _masked(low + 4, value_high, datum >> 32) if wide else []
        return code + _masked(low, value_low, datum & 0xFFFFFFFF)
    opcode, when_true, when_false = {
        "EQ": (_JEQ, _NEXT, _FAILS),
        "NE": (_JEQ, _FAILS, _NEXT),
        "GT": (_JGT, _NEXT, _FAILS),
        "GE": (_JGE, _NEXT, _FAILS),
        "LT": (_JGE, _FAILS, _NEXT),
        "LE": (_JGT, _FAILS, _NEXT),
    }[condition.operator]
    code = [(_LD_ABS, _NEXT, _NEXT, low), (opcode, when_true, when_false, value_low)]
    if not wide:
        return code
    above, other = {
        "EQ": (_FAILS, _FAILS),
        "NE": (_HOLDS, _HOLDS),
        "GT": (_HOLDS, _FAILS),
        "GE": (_HOLDS, _FAILS),
        "LT": (_FAILS, _HOLDS),
        "LE": (_FAILS, _HOLDS),
    }[condition.operator]
    head = [(_LD_ABS, _NEXT, _NEXT, low + 4)]
    if above != other:
        head.append((_JGT, above, _NEXT, value_high))
    return [*head, (_JEQ, _NEXT, other, value_high), *code]


def _masked(offset: int, mask: int, datum: int) -> list[Instruction]:
    if not mask:
        return []
    return [
        (_LD_ABS, _NEXT, _NEXT, offset),
        (_AND, _NEXT, _NEXT, mask),
        (_JEQ, _NEXT, _FAILS, datum),
    ]
