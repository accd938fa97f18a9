from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.printable import quote
from substrate.trace.events import to_json
from substrate.trace.show import command_text, record_lines, span_lines
from tests.support import records
from tests.support.examples import examples

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
)  # fmt: skip


def test_a_span_is_shown_for_people() -> None:
    shown = list(span_lines(records.lines()[:3]))
    assert shown[0] == "2026-01-02T03:04:05.000000001Z  command_start"
    assert shown[1] == "  $ git commit -m '…'"
    text = "\n".join(shown)
    assert re.search("^  exit +1$", text, re.MULTILINE)
    assert "from -> to" in text
    assert "rule: cmd_isolated[2]" in text
    assert shown.count("") == 2


@settings(max_examples=examples(12))
@given(st.dictionaries(st.text(), _json, max_size=6))
def test_nothing_shown_can_drive_a_terminal(data: dict[str, Any]) -> None:
    for text in (*record_lines(data), command_text(data)):
        assert text.isprintable()


@settings(max_examples=examples(25))
@given(records.any_text)
def test_escaped_text_is_printable_and_can_be_told_apart(text: str) -> None:
    assert quote(text).isprintable()
    assert (quote(text) == text) == (text.isprintable() and "\\" not in text)


def test_any_record_is_shown() -> None:
    for event in records.ALL:
        assert list(record_lines(to_json(event, records.TS)))


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["ls", "-la"], "$ ls -la"),
        (["echo", "", "a b", "it's"], "$ echo '' 'a b' 'it\\'s'"),
        (["x", "\x1b[31m", "a\nb"], "$ x '\\x1b[31m' 'a\\nb'"),
        (["rm", "*; ls"], "$ rm '*; ls'"),
        ([], ""),
    ],
)
def test_words_are_shown_so_that_they_are_told_apart(argv: list[str], shown: str) -> None:
    assert command_text({"argv": argv}) == shown


def test_words_that_were_left_out_are_told() -> None:
    assert command_text({"argv": ["x"], "argv_omitted": 3}) == "$ x … and 3 more words"


def test_a_long_list_is_cut() -> None:
    shown = list(record_lines({"ts": "t", "event_type": "e", "differences": ["d"] * 50}))
    assert shown[-1].strip() == "… and 30 more"
