from __future__ import annotations

import marshal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.kernel.plan import (
    EXPECT,
    HEADER,
    JUMP,
    KIND_CELL,
    KIND_POINTER,
    MAGIC,
    OP,
    OP_SIZE,
    VERSION,
    Cell,
    Op,
    Plan,
    PlanBuilder,
    Pointer,
    load,
)
from substrate.kernel.syscalls import NUMBERS


def builder() -> PlanBuilder:
    """Return a builder that can finish."""
    made = PlanBuilder()
    made.report_to(made.input("sync"))
    made.begin_step("first")
    return made


def header(image: bytes | bytearray) -> dict[str, int]:
    """Return the fields of an image's header by name."""
    names = ("magic", "version", "ops", "relocations", "ops_at", "relocations_at", "arena_at",
             "arena_size", "start", "report_cell", "reserved0", "reserved1")  # fmt: skip
    return dict(zip(names, HEADER.unpack_from(image, 0), strict=True))


def arena(image: bytes | bytearray) -> bytes:
    return bytes(image[header(image)["arena_at"] :])


def test_a_plan_that_can_report_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no descriptor to report failures on"):
        PlanBuilder().finish()


def test_offset_zero_is_never_handed_out() -> None:
    made = PlanBuilder()
    assert made.data(b"x").offset > 0
    assert made.cell("x").offset > 0
    assert made.text("").offset > 0


@given(st.lists(st.tuples(st.binary(max_size=20), st.sampled_from([1, 4, 8, 16])), max_size=8))
def test_data_lies_where_it_was_put_and_aligned(pieces: list[tuple[bytes, int]]) -> None:
    made = builder()
    places = [(made.data(content, align), content, align) for content, align in pieces]
    whole = made.finish().arena
    for place, content, align in places:
        assert place.offset % align == 0
        assert whole[place.offset : place.offset + len(content)] == content


@given(st.lists(st.text(st.characters(blacklist_characters="\0"), max_size=8), max_size=8))
def test_texts_end_in_nul_and_equal_ones_share_a_place(texts: list[str]) -> None:
    texts = [text for text in texts if not any(0xD800 <= ord(c) < 0xDC80 for c in text)]
    texts = [text for text in texts if not any(0xDD00 <= ord(c) <= 0xDFFF for c in text)]
    made = builder()
    places = {text: made.text(text) for text in texts}
    whole = made.finish().arena
    for text, place in places.items():
        raw = text.encode("utf-8", "surrogateescape")
        assert whole[place.offset :].startswith(raw + b"\0")
        assert made.text(text) == place


def test_a_path_that_is_no_text_keeps_its_bytes() -> None:
    made = builder()
    place = made.text(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert made.finish().arena[place.offset :].startswith(b"caf\xe9\0")


@pytest.mark.parametrize("text", ["\0", "a\0b", "a\0"])
def test_a_text_with_nul_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds a NUL byte"):
        builder().text(text)


def test_equal_constants_share_a_place_and_data_does_not() -> None:
    made = builder()
    assert made.constant(b"1234") == made.constant(b"1234")
    assert made.data(b"1234") != made.data(b"1234")


def test_a_structure_points_into_the_arena() -> None:
    made = builder()
    target = made.text("target")
    place = made.structure(bytes(24), [(8, target)])
    plan = made.finish()
    assert plan.relocations == (place.offset + 8,)
    assert struct.unpack_from("=3Q", plan.arena, place.offset) == (0, target.offset, 0)


def test_a_string_array_ends_in_a_null_pointer() -> None:
    made = builder()
    place = made.string_array(["one", "two", "one"])
    plan = made.finish()
    words = struct.unpack_from("=4Q", plan.arena, place.offset)
    assert words[0] == words[2]
    assert [plan.arena[word:].split(b"\0")[0] for word in words[:2]] == [b"one", b"two"]
    assert words[3] == 0
    # The null pointer stays one: it is not moved with the arena.
    assert plan.relocations == tuple(place.offset + 8 * index for index in range(3))


def test_an_empty_string_array_is_only_its_end() -> None:
    made = builder()
    place = made.string_array([])
    plan = made.finish()
    assert (plan.relocations, plan.arena[place.offset :]) == ((), bytes(8))


def test_a_cell_of_one_name_is_one_cell() -> None:
    made = builder()
    assert made.cell("x") == made.cell("x") != made.cell("y")
    assert made.cell("x").address == Pointer(made.cell("x").offset)
    assert made.cell("x").offset % 4 == 0


def test_a_cell_holds_minus_one_at_first() -> None:
    made = builder()
    cell = made.cell("x")
    assert struct.unpack_from("=i", made.finish().arena, cell.offset) == (-1,)


def test_a_word_of_a_message_can_be_a_cell() -> None:
    made = builder()
    place = made.data(bytes(24))
    assert made.cell_at("sent", place.offset + 16) == Cell(place.offset + 16)
    assert made.cell("sent") == Cell(place.offset + 16)


def test_inputs_are_filled_in_at_encoding() -> None:
    made = builder()
    extra = made.input("extra")
    plan = made.finish()
    assert dict(plan.inputs) == {"sync": plan.report_cell, "extra": extra.offset}
    image = plan.encode({"sync": 5, "extra": 7, "not asked for": 9})
    assert struct.unpack_from("=i", arena(image), extra.offset) == (7,)
    assert struct.unpack_from("=i", arena(image), header(image)["report_cell"]) == (5,)


def test_a_missing_input_is_an_error() -> None:
    plan = builder().finish()
    with pytest.raises(KeyError, match="sync"):
        plan.encode({})


def test_encoding_changes_nothing_in_the_plan() -> None:
    made = builder()
    made.call("umask", 0)
    plan = made.finish()
    before = plan.dump()
    first, second = plan.encode({"sync": 5}), plan.encode({"sync": 6})
    assert first != second
    assert plan.dump() == before


def test_the_header_says_where_everything_is() -> None:
    made = builder()
    made.call("umask", 0)
    made.structure(bytes(8), [(0, made.text("x"))])
    plan = made.finish()
    image = plan.encode({"sync": 5}, start=3)
    fields = header(image)
    assert (fields["magic"], fields["version"]) == (MAGIC, VERSION)
    assert (fields["ops"], fields["relocations"], fields["start"]) == (1, 1, 3)
    assert fields["ops_at"] == HEADER.size
    assert fields["relocations_at"] == HEADER.size + OP_SIZE
    assert fields["arena_at"] % 16 == 0
    assert fields["arena_at"] >= fields["relocations_at"] + 4
    assert fields["arena_size"] == len(plan.arena) == len(arena(image))


def test_a_call_is_encoded_with_the_kinds_of_its_arguments() -> None:
    made = builder()
    cell, text = made.cell("fd"), made.text("x")
    made.call("openat2", cell, text, -1, store=cell, ignore=(2, 20), expect=4)
    image = made.finish().encode({"sync": 5})
    number, flags, store, skip, step, expect, *rest = OP.unpack_from(image, HEADER.size)
    assert (number, store, skip, step, expect) == (NUMBERS["openat2"], cell.offset, 0, 0, 4)
    assert flags == EXPECT | 3 << 12 | KIND_CELL | KIND_POINTER << 2
    assert rest[:3] == [2, 20, 0]
    assert rest[3:] == [cell.offset, text.offset, 0xFFFF_FFFF_FFFF_FFFF, 0, 0, 0]


def test_an_unknown_system_call_is_an_error_at_once() -> None:
    with pytest.raises(KeyError, match="no_such_call"):
        builder().call("no_such_call")


def test_calls_belong_to_the_step_begun_last() -> None:
    made = builder()
    made.call("umask", 0)
    made.begin_step("second")
    made.call("umask", 0)
    plan = made.finish()
    assert [plan.steps[op.step] for op in plan.ops] == ["first", "second"]


def test_skip_to_here_counts_the_calls_in_between() -> None:
    made = builder()
    jump = made.call("", flags=JUMP)
    made.call("umask", 0)
    made.call("umask", 0)
    made.skip_to_here(jump)
    made.call("umask", 0)
    plan = made.finish()
    assert [op.skip for op in plan.ops] == [2, 0, 0, 0]
    assert plan.ops[0].number == -1


def test_skipping_nothing_is_nothing() -> None:
    made = builder()
    index = made.call("umask", 0)
    made.skip_to_here(index)
    assert made.finish().ops[0].skip == 0


def test_python_runs_everything_when_no_handover_is_named() -> None:
    made = builder()
    made.call("umask", 0)
    assert made.finish().handover == 1
    made.hand_over()
    made.call("umask", 0)
    assert made.finish().handover == 1


def test_a_dumped_plan_survives_marshal() -> None:
    made = builder()
    made.call("openat2", made.cell("fd"), made.text("x"), ignore=(2,), store=made.cell("fd"))
    made.structure(bytes(8), [(0, made.text("y"))])
    plan = made.finish()
    loaded = load(marshal.loads(marshal.dumps(plan.dump())))  # type: ignore[arg-type]  # noqa: S302  # pyright: ignore[reportArgumentType]
    assert loaded == plan
    assert isinstance(loaded, Plan)
    assert all(isinstance(op, Op) for op in loaded.ops)
    assert loaded.encode({"sync": 3}) == plan.encode({"sync": 3})
