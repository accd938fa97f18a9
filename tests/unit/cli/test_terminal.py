"""Standard output: bytes as they are, nothing that drives a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.cli import terminal


@given(st.binary())
def test_a_file_name_comes_out_as_the_bytes_it_is(name: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        patch.setattr("sys.stdout", stream)
        terminal.write(os.fsdecode(name))
        terminal.flush()
        assert stream.buffer.getvalue() == name


def test_a_surrogate_that_is_no_byte_is_escaped(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    terminal.write(json.loads('"\\ud800"'))
    assert capsysbinary.readouterr().out == b"\\ud800"


@given(st.text())
def test_what_is_printable_cannot_drive_a_terminal(text: str) -> None:
    assert terminal.printable(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("a\u202eb\n\x9b", "a\\u202eb\\n\\x9b"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_other_characters_are_escaped(text: str, shown: str) -> None:
    assert terminal.printable(text) == shown


def test_a_broken_pipe_of_standard_output_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    stream = os.fdopen(write_fd, "w", encoding="utf-8")
    monkeypatch.setattr("sys.stdout", stream)
    terminal.write("x")
    with pytest.raises(terminal.OutputClosedError):
        terminal.flush()
    with pytest.raises(terminal.OutputClosedError):
        terminal.write("x" * io.DEFAULT_BUFFER_SIZE * 2)
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def test_a_missing_standard_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    terminal.write("x")
    terminal.flush()
