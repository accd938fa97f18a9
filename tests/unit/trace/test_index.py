from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from substrate.errors import SpanNotFoundError
from substrate.jsontext import dumps_line
from substrate.trace.directory import ACTIVE
from substrate.trace.events import CommandStart, Origin, to_json
from substrate.trace.index import FILE, Index
from substrate.trace.writer import TraceWriter
from tests.support import records


def _start(session: int, span: int) -> CommandStart:
    return CommandStart(Origin(f"{session:032x}", f"{span:016x}"), "/", ("true",), records.DIGEST)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of two sessions with 20 spans each, for all tests of this file."""
    directory = tmp_path_factory.mktemp("made") / "@trace"
    with TraceWriter(str(directory), 4096) as writer:
        for span in range(1, 41):
            writer.append(_start(1 + span % 2, span))
    return directory


@pytest.fixture
def filled(made: Path, directory: str) -> str:
    """A trace of two sessions with 20 spans each, over several segments."""
    shutil.copytree(made, directory)
    return directory


def test_a_span_is_found_with_all_its_records(directory: str) -> None:
    with TraceWriter(directory) as writer:
        for event in records.ALL:
            writer.append(event)
    with Index(directory) as index:
        kinds = [data["event_type"] for data in index.span(records.SPAN)]
    assert kinds == ["command_start", "net", "command_complete", "replay", "accept"]


def test_an_unknown_span_is_told(filled: str) -> None:
    with Index(filled) as index, pytest.raises(SpanNotFoundError, match="no record has the span"):
        index.span("f" * 16)


def test_records_are_selected_by_session_kind_and_time(filled: str) -> None:
    with Index(filled) as index:
        everything = list(index.select())
        assert [int(one.data["span_id"], 16) for one in everything] == list(range(1, 41))
        assert len(list(index.select(session=f"{1:032x}"))) == 20
        assert list(index.select(kind="net")) == []
        middle = everything[20].data["ts"]
        assert [one.data for one in index.select(since=middle)] == [
            one.data for one in everything[20:]
        ]
        assert len(list(index.select(until=middle, session=f"{2:032x}"))) == 10
        assert len(list(index.select(since="2000", until="9999"))) == 40


def test_the_index_catches_up_with_what_is_new(filled: str) -> None:
    with Index(filled) as index:
        assert len(list(index.select())) == 40
    with TraceWriter(filled, 4096) as writer:
        for span in range(100, 130):
            writer.append(_start(9, span))
    with Index(filled) as index:
        assert len(list(index.select())) == 70
        assert index.span(f"{110:016x}")[0]["session_id"] == f"{9:032x}"


def test_catching_up_twice_adds_nothing(filled: str) -> None:
    for _ in range(3):
        with Index(filled) as index:
            assert len(list(index.select())) == 40


def test_a_torn_line_hides_no_neighbour(directory: str) -> None:
    with TraceWriter(directory) as writer:
        writer.append(_start(1, 1))
        with Path(directory, ACTIVE).open("ab") as file:
            file.write(b'{"v":1,"ts":"2026')
        writer.append(_start(1, 2))
    with Index(directory) as index:
        assert index.span(f"{2:016x}")


@pytest.mark.parametrize("damage", ["garbage", "truncated", "other version", "removed", "empty"])
def test_a_damaged_index_is_made_again(filled: str, damage: str) -> None:
    with Index(filled):
        pass
    path = Path(filled, FILE)
    if damage == "garbage":
        path.write_bytes(b"garbage " * 2000)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "other version":
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    elif damage == "removed":
        path.unlink()
    else:
        path.write_bytes(b"")
    with Index(filled) as index:
        assert len(list(index.select())) == 40


def test_a_shortened_segment_is_read_again(filled: str) -> None:
    with Index(filled):
        pass
    path = Path(filled, ACTIVE)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with Index(filled) as index:
        assert len(list(index.select())) == 39


def test_an_index_that_lies_is_not_believed(filled: str) -> None:
    with Index(filled):
        pass
    with sqlite3.connect(Path(filled, FILE)) as database:
        database.execute("UPDATE record SET position = position + 1 WHERE span = ?", (f"{7:016x}",))
    database.close()
    with Index(filled) as index, pytest.raises(SpanNotFoundError):
        index.span(f"{7:016x}")


def test_the_index_is_for_its_user_alone(filled: str) -> None:
    mask = os.umask(0)
    try:
        with Index(filled):
            assert Path(filled, FILE).stat().st_mode & 0o777 == 0o600
            for name in (f"{FILE}-wal", f"{FILE}-shm"):
                assert Path(filled, name).stat().st_mode & 0o077 == 0
    finally:
        os.umask(mask)


def test_a_trace_of_somebody_else_is_read_without_writing_there(
    filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with Index(filled) as index:
        assert len(list(index.select())) == 40
    assert not Path(filled, FILE).exists()


def test_segments_without_a_header_are_left_out_and_the_rest_is_found(filled: str) -> None:
    path = Path(filled, ACTIVE)
    count = path.read_bytes().count(b"\n") - 1
    with path.open("r+b") as file:
        file.write(b"x")
    with Index(filled) as index:
        assert len(list(index.select())) == 40 - count


def test_a_record_of_the_future_is_found_too(directory: str) -> None:
    data = to_json(records.ALL[-1], records.TS) | {"event_type": "novelty"}
    with TraceWriter(directory) as writer:
        writer.append_line(dumps_line(data).encode() + b"\n")
    with Index(directory) as index:
        assert [one.data for one in index.select(kind="novelty")] == [data]
