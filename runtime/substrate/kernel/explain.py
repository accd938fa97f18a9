"""A plan's calls as text, in the manner of strace."""

from __future__ import annotations

from substrate.kernel.plan import FAIL, IDLE, JUMP, KIND_CELL, KIND_POINTER, RESET
from substrate.kernel.syscalls import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.kernel.plan import Op, Plan

_SPECIAL = {
    IDLE: "(reap for ever)",
    FAIL: "(fail with the last error)",
    JUMP: "(skip)",
    RESET: "(reset all signals)",
}
_LONGEST_TEXT = 80


def explain_op(plan: Plan, op: Op) -> str:
    """Return `name(arguments) = result`, descriptors by where they come from."""
    for flag, text in _SPECIAL.items():
        if op.flags & flag:
            return f"{text} {op.skip}" if flag == JUMP else text
    words = (_argument(plan, op.flags >> (2 * n) & 3, word) for n, word in enumerate(op.args))
    result = f" = cell{op.store}" if op.store else ""
    return f"{NAMES[op.number]}({', '.join(words)}){result}"


def _argument(plan: Plan, kind: int, word: int) -> str:
    if kind == KIND_CELL:
        names = {offset: name for name, offset in plan.inputs}
        return names.get(word, f"cell{word}")
    if kind == KIND_POINTER:
        return _pointed_to(plan, word)
    return str(word) if -4096 < word < 4096 else hex(word & 0xFFFF_FFFF_FFFF_FFFF)


def _pointed_to(plan: Plan, offset: int) -> str:
    raw = plan.arena[offset : offset + _LONGEST_TEXT]
    text, end, _ = raw.partition(b"\0")
    if end and text.isascii() and all(32 <= byte < 127 for byte in text):
        return f'"{text.decode()}"'
    return f"&{offset}"
