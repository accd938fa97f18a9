"""A plan as text that a reviewer can judge: steps, calls, and what the calls point to."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from substrate.kernel.explain import explain_op
from substrate.kernel.plan import KIND_CELL, KIND_POINTER
from substrate.kernel.syscalls import NAMES, NUMBERS

if TYPE_CHECKING:
    from substrate.kernel.plan import Op, Plan

# call: which argument points to a structure, its format and the names of its fields
_STRUCTURES = {
    "openat2": (2, "=3Q", ("flags", "mode", "resolve")),
    "mount_setattr": (3, "=4Q", ("set", "clear", "propagation", "userns")),
    "capset": (1, "=6I", ("effective", "permitted", "inheritable", "e2", "p2", "i2")),
    "prlimit64": (2, "=2Q", ("soft", "hard")),
    "clone3": (0, "=11Q", ("flags", "", "", "", "exit_signal", "", "", "", "", "", "")),
}


def steps_text(plan: Plan) -> str:
    """Return the steps, one a line."""
    return "".join(f"{number:3} {step}\n" for number, step in enumerate(plan.steps, 1))


def plan_text(plan: Plan) -> str:
    """Return the steps with the calls of each.

    Descriptors have names that do not change when something is added elsewhere: `fd1`, `fd2` of
    the same step, the step that opened them, or `received1`, … when the runtime sent them.
    """
    lines: list[str] = []
    opened_in = {op.store: op.step for op in reversed(plan.ops) if op.store}
    received = _received(plan, set(opened_in))
    for number, step in enumerate(plan.steps):
        lines.append(f"{number + 1:3} {step}")
        local = dict(received)
        lines += [
            "      " + _call(plan, op, number, local, opened_in)
            for op in plan.ops
            if op.step == number
        ]
    return "\n".join(lines) + "\n"


def _received(plan: Plan, stored: set[int]) -> dict[int, str]:
    """Return names for the cells that no call stores into, in their order in memory."""
    used = {
        op.args[position]
        for op in plan.ops
        for position in range(len(op.args))
        if uses_cell(op, position)
    }
    strange = used - stored - {offset for _, offset in plan.inputs}
    return {offset: f"received{number}" for number, offset in enumerate(sorted(strange), 1)}


def _call(plan: Plan, op: Op, step: int, local: dict[int, str], opened_in: dict[int, int]) -> str:
    text = explain_op(plan, op)
    if op.number >= 0:
        text = _with_structure(plan, op, text)

    def name(match: re.Match[str]) -> str:
        offset = int(match[1])
        if opened_in.get(offset, step) == step:
            opened = sum(known.startswith("fd") for known in local.values())
            return local.setdefault(offset, f"fd{opened + 1}")
        return f"<{plan.steps[opened_in[offset]]}>"

    text = re.sub(r"\bcell(\d+)", name, text)
    text = re.sub(r"&\d+", "&…", text)
    if op.skip and op.number >= 0:
        text += f"  else skip {op.skip}"
    ignored = [str(number) for number in op.ignore if number]
    return text + (f"  unless {','.join(ignored)}" if ignored else "")


def _with_structure(plan: Plan, op: Op, text: str) -> str:
    known = _STRUCTURES.get(NAMES[op.number])
    if known is None:
        return text
    position, layout, names = known
    kind = op.flags >> (2 * position) & 3
    if kind != KIND_POINTER:
        return text
    values = struct.unpack_from(layout, plan.arena, op.args[position])
    fields = ", ".join(
        f"{field}={value:#x}" for field, value in zip(names, values, strict=True) if field and value
    )
    words = _split(text)
    words[position] = "{" + fields + "}"
    head, _, tail = text.rpartition(")")
    return f"{head.partition('(')[0]}({', '.join(words)}){tail}"


def _split(text: str) -> list[str]:
    """Return the arguments of a call as text; quoted ones may hold commas."""
    inner = text.partition("(")[2].rpartition(")")[0]
    return re.findall(r'"[^"]*"|[^,\s][^,]*', inner)


def calls_of(plan: Plan, name: str) -> list[Op]:
    """Return the calls of one name, in order."""
    return [op for op in plan.ops if op.number == NUMBERS[name]]


def uses_cell(op: Op, position: int) -> bool:
    """Whether an argument of a call is a cell's value."""
    return op.flags >> (2 * position) & 3 == KIND_CELL
