"""What a job in the background says: text, tabs, lines and colours; all else is shown as it is."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.cli.front.jobtext import JobText

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
# What terminals obey, and what only looks like it, in whatever pieces.
_PIECES = st.sampled_from([
    b"\x1b", b"\x1b[", b"\x1b[0;31", b"m", b"\x1b[1m", b"\x1b[m", b"\x1b[2J", b"\x1b]0;title\x07",
    b"\x1bP", b"\x1b\\", b"\x9b2J", b"\xc2\x9b2J", b"\r", b"\n", b"\r\n", b"\t", b"\b", b"\x07",
    b"\x0e", b"\x7f", b"\\", b"text", "caf\u00e9 \U0001f600".encode(), b"\xf0\x9f", b"\xe2\x80\xae",
    b"\x1b[?1049h", b"\x1b[6n", b"\xff",
])  # fmt: skip
_BYTES = st.lists(_PIECES | st.binary(max_size=3), max_size=12).map(b"".join)


def shown(*reads: bytes) -> str:
    """All that is shown of what was read in these pieces, and then no more."""
    text = JobText()
    return "".join(map(text.take, (*reads, b"")))


@given(_BYTES)
def test_nothing_but_text_lines_and_colours_reaches_a_terminal(data: bytes) -> None:
    rest = _COLOURS.sub("", shown(data)).replace("\r\n", "").replace("\t", "")
    assert rest.isprintable()


@given(_BYTES, st.data())
def test_where_a_sequence_is_split_changes_nothing(data: bytes, draw: st.DataObject) -> None:
    places = draw.draw(st.lists(st.integers(0, len(data)), max_size=4).map(sorted))
    ends = [0, *places, len(data)]
    # A read that came to nothing would be the end.
    reads = [piece for a, b in pairwise(ends) if (piece := data[a:b])]
    assert _COLOURS.sub("", shown(*reads)) == _COLOURS.sub("", shown(data))


@given(st.text().map(lambda text: "".join(filter(str.isprintable, text))))
def test_text_stays_as_it_is(text: str) -> None:
    assert shown(text.encode()) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"one\r\ntwo\nthree", "one\r\ntwo\r\nthree"),
        (b"raw\r\r\nend", "raw\r\nend"),
        (b"prompt\rover it", "prompt\r\nover it"),
        (b"\x1b[2Jgone", r"\x1b[2Jgone"),
        (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
        (b"\x1b[6n", r"\x1b[6n"),
        (b"\xc2\x9b6n\x9b6n", r"\u009b6n\x9b6n"),
        (b"left\b\b", r"left\x08\x08"),
        (b"\xe2\x80\xaeturned", r"\u202eturned"),
        (b"col\tumn \\ and \\n", "col\tumn \\ and \\n"),
        (b"\x1b[31mred\x1b[m", "\x1b[31mred\x1b[m"),
        (b"\x1b[" + b"1;" * 40 + b"m", r"\x1b[" + "1;" * 40 + "m"),
        (b"cut\x1b[3", r"cut\x1b[3"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(data: bytes, text: str) -> None:
    assert shown(data) == text


def test_colours_end_with_what_was_said_and_go_on_with_what_follows() -> None:
    text = JobText()
    assert text.take(b"\x1b[31mred") == "\x1b[31mred\x1b[0m"
    assert text.take(b"\x1b[1mbold") == "\x1b[31m\x1b[1mbold\x1b[0m"
    assert text.take(b"\x1b[0mplain") == "\x1b[31m\x1b[1m\x1b[0mplain"
    assert text.take(b"plain") == "plain"


def test_however_many_colours_a_job_uses_the_last_ones_count() -> None:
    text = JobText()
    text.take(b"\x1b[31m" * 100_000)
    assert len(text.take(b"x")) < 100


def test_what_is_held_back_of_a_read_stays_short() -> None:
    text = JobText()
    for _ in range(1000):
        assert text.take(b"\r" * 1000) == ""
    assert text.take(b"end") == "\r\nend"
