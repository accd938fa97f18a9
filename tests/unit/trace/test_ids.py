from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import UsageError
from substrate.trace.ids import (
    TraceParent,
    begin,
    carried,
    inherited,
    is_session_id,
    is_span_id,
    new_session_id,
    new_span_id,
    parse_traceparent,
)
from tests.support.examples import examples

SESSION = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{SESSION}-{SPAN}-01"


@settings(max_examples=examples(30))
@given(st.integers(min_value=0, max_value=(1 << 48) * 1_000_000 - 1))
def test_a_session_id_is_a_uuid_of_version_7_with_its_time(now_ns: int) -> None:
    made = new_session_id(now_ns)
    read = uuid.UUID(made)
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == now_ns // 1_000_000
    assert is_session_id(made)


def test_session_ids_sort_by_time_and_differ() -> None:
    made = [new_session_id(millisecond * 1_000_000) for millisecond in range(1, 50)]
    assert made == sorted(made)
    assert len({new_session_id(1) for _ in range(100)}) == 100


def test_span_ids_are_sixteen_digits_and_differ() -> None:
    made = {new_span_id() for _ in range(100)}
    assert len(made) == 100
    assert all(is_span_id(span) for span in made)


def test_a_traceparent_is_read_and_written_back() -> None:
    parent = parse_traceparent(GOOD)
    assert parent == TraceParent(SESSION, SPAN, 1)
    assert str(parent) == GOOD


@pytest.mark.parametrize("text", [f"01-{SESSION}-{SPAN}-01-more", f"cc-{SESSION}-{SPAN}-03"])
def test_a_later_version_may_say_more(text: str) -> None:
    assert parse_traceparent(text).session_id == SESSION


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x", "fewer than four"),
        (f"ff-{SESSION}-{SPAN}-01", "version"),
        (f"0-{SESSION}-{SPAN}-01", "version"),
        (f"{GOOD}-more", "follows the flags"),
        (f"00-{SESSION.upper()}-{SPAN}-01", "trace id"),
        (f"00-{'0' * 32}-{SPAN}-01", "trace id"),
        (f"00-{SESSION}-{'0' * 16}-01", "span id"),
        (f"00-{SESSION}-{SPAN}0-01", "span id"),
        (f"00-{SESSION}-{SPAN}-1", "flags"),
        (f"{GOOD}\n", "flags"),
        (f" {GOOD}", "version"),
        (f"00-{SESSION}-{SPAN}-\u06601", "flags"),
    ],
)
def test_a_bad_traceparent_is_ignored_with_its_reason_or_refused(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        parse_traceparent(text)
    parent, reason = inherited({"TRACEPARENT": text})
    assert parent is None
    assert fault in reason


def test_no_traceparent_is_no_reason_to_warn() -> None:
    assert inherited({}) == (None, "")
    assert inherited({"TRACEPARENT": GOOD}) == (TraceParent(SESSION, SPAN, 1), "")


@settings(max_examples=examples(30))
@given(st.text())
def test_any_text_is_read_or_refused_never_more(text: str) -> None:
    parent, reason = inherited({"TRACEPARENT": text})
    assert (parent is None) == bool(reason) or text == ""


def test_a_span_begins_in_its_parents_session_or_in_a_new_one() -> None:
    child = begin(parse_traceparent(GOOD))
    assert (child.session_id, child.flags) == (SESSION, 1)
    assert child.span_id != SPAN
    first, second = begin(), begin()
    assert first.session_id != second.session_id
    assert parse_traceparent(str(first)) == first


def test_the_state_is_passed_on_with_a_parent_only() -> None:
    span = TraceParent(SESSION, "1" * 16)
    passed = carried(span, {"TRACEPARENT": GOOD, "TRACESTATE": "a=1"})
    assert passed == {"TRACEPARENT": f"00-{SESSION}-{'1' * 16}-03", "TRACESTATE": "a=1"}
    assert "TRACESTATE" not in carried(span, {"TRACESTATE": "a=1"})
    assert "TRACESTATE" not in carried(span, {"TRACEPARENT": GOOD, "TRACESTATE": "a" * 513})
