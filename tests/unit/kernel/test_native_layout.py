"""world_init.c declares the image's structures a second time; both must be the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from substrate.kernel import messages, plan

SOURCE = (Path(plan.__file__).parent / "native/world_init.c").read_text(encoding="utf-8")
_SIZES = {"u16": 2, "i32": 4, "u32": 4, "u64": 8}


def constants() -> dict[str, int]:
    """Return the values of the C enumerations, by name."""
    found: dict[str, int] = {}
    for body in re.findall(r"enum \{([^}]*)\};", SOURCE):
        following = 0
        for entry in re.sub(r"/\*.*?\*/", "", body).split(","):
            name, _, text = entry.partition("=")
            if name.strip():
                following = eval(text) if text.strip() else following  # noqa: S307 -- our source
                found.setdefault(name.strip(), following)
                following += 1
    return found


def size_of(structure: str) -> int:
    """Return the size of a packed C structure of words."""
    found = re.search(rf"struct {structure} {{(.*?)}}", SOURCE, re.DOTALL)
    assert found is not None
    total = 0
    for line in found[1].split(";"):
        words = line.split(maxsplit=1)
        if not words:
            continue
        for name in words[1].split(","):
            count = re.search(r"\[(\d+)\]", name)
            total += _SIZES[words[0]] * (int(count[1]) if count else 1)
    return total


@pytest.mark.parametrize(
    "name",
    [
        "MAGIC", "VERSION", "KIND_WORD", "KIND_POINTER", "KIND_CELL", "EXPECT", "LEAVE", "REAP",
        "IDLE", "TRY", "FAIL", "JUMP", "ANY_ERROR",
    ],
)  # fmt: skip
def test_a_constant_has_one_value(name: str) -> None:
    assert constants()[name] == getattr(plan, name)


def test_an_op_has_one_size() -> None:
    assert size_of("op") == plan.OP_SIZE


def test_a_header_has_one_size() -> None:
    assert size_of("header") == plan.HEADER.size


def test_messages_have_the_same_tags() -> None:
    for name, tag in (("TAG_ERROR", messages.ERROR), ("TAG_PID", messages.PID)):
        assert constants()[name].to_bytes(4, "little") == tag


def test_the_flags_lie_above_the_argument_kinds() -> None:
    flags = [plan.EXPECT, plan.LEAVE, plan.REAP, plan.IDLE, plan.TRY, plan.FAIL, plan.JUMP]
    assert len({*flags}) == len(flags)
    assert all(flag >= 1 << 12 and flag.bit_count() == 1 for flag in flags)
