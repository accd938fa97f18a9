from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import TraceError
from substrate.jsontext import dumps_line, loads
from substrate.trace.events import KINDS, Event, from_json, nanoseconds, timestamp, to_json
from substrate.trace.writer import MARKER
from tests.support import records
from tests.support.examples import examples


def test_every_kind_is_among_the_examples() -> None:
    assert {event.KIND for event in records.ALL} == set(KINDS)


@pytest.mark.parametrize("event", records.ALL, ids=lambda event: event.KIND)
def test_an_event_comes_back_from_its_line(event: Event) -> None:
    line = dumps_line(to_json(event, records.TS))
    assert from_json(loads(line)) == (records.TS, event)


@settings(max_examples=examples(15))
@given(records.starts())
def test_any_command_comes_back_from_its_line(event: Event) -> None:
    line = dumps_line(to_json(event, records.TS))
    assert from_json(loads(line)) == (records.TS, event)
    assert json.loads(line) == loads(line)


@settings(max_examples=examples(15))
@given(records.starts())
def test_a_line_is_ascii_and_its_marker_is_at_the_beginning_only(event: Event) -> None:
    line = dumps_line(to_json(event, records.TS)).encode("ascii")
    assert b"\n" not in line
    assert line.startswith(MARKER)
    assert line.rfind(MARKER) == 0


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"v": 2, "ts": records.TS, "event_type": "net"},
        {"v": 1, "ts": records.TS, "event_type": "gossip"},
        {"v": 1, "ts": records.TS, "event_type": ["net"]},
        {"v": 1, "ts": records.TS, "event_type": "net", "session_id": "a"},
        {"v": 1, "event_type": "world", "session_id": "a", "action": "created"},
        {"v": 1, "ts": records.TS, "event_type": "world", "session_id": "a", "x": 1},
    ],
)
def test_what_is_no_record_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(TraceError):
        from_json(data)


@settings(max_examples=examples(30))
@given(st.integers(0, 253402300799 * 10**9))
def test_times_have_thirty_characters_sort_and_come_back(now_ns: int) -> None:
    text = timestamp(now_ns)
    assert len(text) == 30
    assert nanoseconds(text) == now_ns
    assert text <= timestamp(now_ns + 1)


def test_a_time_is_now_when_none_is_given() -> None:
    before = time.time_ns()
    assert before <= nanoseconds(timestamp()) <= time.time_ns()
