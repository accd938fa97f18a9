from __future__ import annotations

import pytest

from substrate.kernel.explain import explain_op
from substrate.kernel.plan import FAIL, IDLE, JUMP, PlanBuilder


@pytest.fixture
def builder() -> PlanBuilder:
    made = PlanBuilder()
    made.report_to(made.input("sync"))
    return made


def told(builder: PlanBuilder) -> list[str]:
    """Return every call of the plan as text."""
    plan = builder.finish()
    return [explain_op(plan, op) for op in plan.ops]


def test_texts_are_quoted_and_small_numbers_are_decimal(builder: PlanBuilder) -> None:
    builder.call("openat", -100, builder.text("/etc/passwd"), 0, 0)
    assert told(builder) == ['openat(-100, "/etc/passwd", 0, 0)']


def test_large_numbers_are_hexadecimal(builder: PlanBuilder) -> None:
    builder.call("unshare", 0x10000000)
    builder.call("close_range", 3, 0xFFFFFFFF, 4)
    assert told(builder) == ["unshare(0x10000000)", "close_range(3, 0xffffffff, 4)"]


def test_inputs_are_called_by_name(builder: PlanBuilder) -> None:
    builder.call("close", builder.input("world"))
    assert told(builder) == ["close(world)"]


def test_what_is_no_text_is_a_place(builder: PlanBuilder) -> None:
    place = builder.constant(b"\x01\x02\x03\x04")
    builder.call("write", 1, place, 4)
    assert told(builder) == [f"write(1, &{place.offset}, 4)"]


def test_a_long_text_is_a_place(builder: PlanBuilder) -> None:
    place = builder.text("x" * 200)
    builder.call("chdir", place)
    assert told(builder) == [f"chdir(&{place.offset})"]


def test_a_result_that_is_kept_is_shown(builder: PlanBuilder) -> None:
    cell = builder.cell("fd")
    builder.call("openat", -100, builder.text("/"), 0, 0, store=cell)
    builder.call("close", cell)
    opened, closed = told(builder)
    assert opened.endswith(f" = cell{cell.offset}")
    assert closed == f"close(cell{cell.offset})"


@pytest.mark.parametrize(
    ("flag", "text"),
    [(IDLE, "(reap for ever)"), (FAIL, "(fail with the last error)"), (JUMP, "(skip) 0")],
)
def test_what_is_no_call_is_told_in_words(builder: PlanBuilder, flag: int, text: str) -> None:
    builder.call("", flags=flag)
    assert told(builder) == [text]


def test_a_skip_says_how_far(builder: PlanBuilder) -> None:
    jump = builder.call("", flags=JUMP)
    builder.call("umask", 0)
    builder.skip_to_here(jump)
    assert told(builder) == ["(skip) 1", "umask(0)"]
