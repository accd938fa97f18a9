from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from substrate.trace.events import Event, to_json
from substrate.trace.shape import compile_schema, faults, load_schema
from tests.support import records
from tests.support.examples import examples

_SCHEMA = load_schema()
_OFFICIAL = Draft202012Validator(_SCHEMA)
HEADER: dict[str, Any] = {
    "v": 1,
    "ts": records.TS,
    "event_type": "segment_open",
    "segment_id": records.SESSION,
    "seq": 1,
    "prev": {
        "file": "f",
        "segment_id": records.SESSION,
        "bytes": 3,
        "sha256": records.DIGEST,
    },
}
_GOOD = [*records.lines(), HEADER, HEADER | {"seq": 0, "prev": None}]
_WORDS = [None, True, -1, 0, 1, 2, 99999, 1.5, "", "a", records.SPAN, records.DIGEST, records.TS]
_NESTED = [[], ["a"], [1], [["a", "b"]], {}, {"a": 1}, {"bytes": 1}, {"action": "deny"}]
_VALUES = st.sampled_from([*_WORDS, "deny", *_NESTED])


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(_SCHEMA)


@pytest.mark.parametrize("record", _GOOD, ids=lambda record: record["event_type"])
def test_what_is_written_has_the_shape(record: dict[str, Any]) -> None:
    assert faults(record) == []
    assert _OFFICIAL.is_valid(record)


@settings(max_examples=examples(10))
@given(records.starts())
def test_any_command_has_the_shape(event: Event) -> None:
    assert faults(to_json(event, records.TS)) == []


@settings(max_examples=examples(30))
@given(st.data())
def test_the_check_agrees_with_the_schema(data: st.DataObject) -> None:
    record: dict[str, Any] = copy.deepcopy(data.draw(st.sampled_from(_GOOD)))
    place: dict[str, Any] = record
    key = data.draw(st.sampled_from([*record, "surprise", "argv", "exit"]))
    if isinstance(place.get(key), dict) and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from([*place, "surprise"]))
    if data.draw(st.booleans()):
        place.pop(key, None)
    else:
        place[key] = data.draw(_VALUES)
    assert (faults(record) == []) == _OFFICIAL.is_valid(record)


def test_a_fault_says_where() -> None:
    record = records.lines()[0] | {"argv": ["a", 1], "cwd": None}
    del record["span_id"]
    assert faults(record) == [
        "$.span_id: missing",
        "$.cwd: expected string",
        "$.argv[1]: expected string",
    ]


@pytest.mark.parametrize("record", [None, [], "x", {}, {"event_type": {}}])
def test_what_is_no_record_at_all_is_told(record: object) -> None:
    assert faults(record)


def test_a_word_the_check_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="dependentRequired"):
        compile_schema({"dependentRequired": {}}, {})
