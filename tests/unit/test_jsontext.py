from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate import jsontext
from tests.support.examples import examples

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # With lone surrogates: a path that is not UTF-8 comes so (os.fsdecode).
    | st.text(st.characters())
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=examples(50))
@given(VALUES)
def test_what_is_written_reads_the_same(value: Any) -> None:
    assert jsontext.loads(jsontext.dumps(value)) == value


@settings(max_examples=examples(50))
@given(VALUES)
def test_a_line_has_no_line_end_and_reads_the_same(value: Any) -> None:
    line = jsontext.dumps_line(value)
    assert line == json.dumps(value, separators=(",", ":"))
    assert jsontext.loads(line) == value
    assert line.isascii()
    assert "\n" not in line


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_a_line_has_numbers_only_that_json_knows(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        jsontext.dumps_line(value)


def test_a_line_is_refused_for_what_is_no_json() -> None:
    with pytest.raises(TypeError, match="set is not a JSON type"):
        jsontext.dumps_line({"a": {1}})


@settings(max_examples=examples(50))
@given(VALUES, st.sampled_from([None, 0, 2]))
def test_the_text_is_that_of_json(value: Any, indent: int | None) -> None:
    assert jsontext.dumps(value, indent) == json.dumps(value, indent=indent)


@settings(max_examples=examples(50))
@given(VALUES)
def test_the_text_of_json_reads_the_same(value: Any) -> None:
    assert jsontext.loads(json.dumps(value, indent=1)) == value
    assert jsontext.loads(json.dumps(value).encode()) == value


@given(st.text())
def test_any_text_is_read_or_refused_as_json_does(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=_refuse)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 -- the words are the ones of json
            jsontext.loads(text)
    else:
        assert jsontext.loads(text) == expected


def _refuse(name: str) -> float:
    raise ValueError(name)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("   \n", 2, 1),
        ("{", 1, 2),
        ('{"a": }', 1, 7),
        ("[1, 2", 1, 6),
        ("[1 2]", 1, 4),
        ('"\n"', 1, 2),
        ("{}\n {}", 2, 2),
        ("{'a': 1}", 1, 2),
        ("nul", 1, 1),
        ("[1],", 1, 4),
    ],
)
def test_a_malformed_text_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        jsontext.loads(text)
    assert (caught.value.lineno, caught.value.colno) == (line, column)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        jsontext.loads(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_numbers_that_are_none_are_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        jsontext.dumps(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), [print]])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a JSON type"):
        jsontext.dumps(value)


def test_keys_are_strings() -> None:
    with pytest.raises(TypeError):
        jsontext.dumps({1: 2})


def test_a_tuple_is_an_array() -> None:
    assert jsontext.dumps((1, (2,))) == "[1, [2]]"


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        jsontext.loads(b'"\xff"')


def test_a_path_that_is_no_text_survives() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    text = jsontext.dumps(name)
    assert text.isascii()
    assert jsontext.loads(text).encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_the_scanner_keeps_nothing_between_documents() -> None:
    first = jsontext.loads('{"key": 1}')
    second = jsontext.loads('{"key": 2}')
    assert (first, second) == ({"key": 1}, {"key": 2})


def test_a_malformed_text_is_told_in_a_process_that_never_loaded_json() -> None:
    """As in a call of the runtime: the C scanner then cannot raise its own error."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from substrate import jsontext\n"
        "for text in sys.argv[2:]:\n"
        "    for name in [name for name in sys.modules if name.partition('.')[0] == 'json']:\n"
        "        del sys.modules[name]\n"
        "    try: jsontext.loads(text)\n"
        "    except ValueError as error: print(error)\n"
    )
    texts = ["{", "[1", '{"a": 1,}', '"open', '{"a" 1}']
    runtime = Path(jsontext.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-ISE", "-c", script, runtime, *texts],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == len(texts)
    assert all("line 1 column" in line for line in done.stdout.splitlines())
