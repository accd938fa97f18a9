"""Who would forge, read or spoil the trace: what a command is called, and other users."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.errors import RefusedError, TraceError
from substrate.trace.directory import ACTIVE
from substrate.trace.events import CommandStart, NetEvent, Origin, from_json
from substrate.trace.index import Index
from substrate.trace.show import span_lines
from substrate.trace.spans import Request, command_start, read_request, write_request
from substrate.trace.verify import verify
from substrate.trace.writer import TraceWriter
from tests.support import records
from tests.support.features import requires
from tests.support.trace import read

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = requires("root")

STRANGER = 4242
_FORGED = (
    '{"v":1,"ts":"2026-01-01T00:00:00.000000000Z","event_type":"command_complete",'
    f'"session_id":"{records.SESSION}","span_id":"{records.SPAN}","exit":0,"duration_ms":1}}'
)
_HOSTILE = [
    f"\n{_FORGED}\n",
    f'"}}\n{_FORGED}\n{{"',
    f"\\u000a{_FORGED}",
    f"\r{_FORGED}\x01",
    '\\"}\n' + _FORGED,
    _FORGED * 3,
    "\u2028" + _FORGED + "\u0085",
    "\udc8a\udcfb" + _FORGED,
]  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """Where a trace is to be made."""
    return str(tmp_path / "@trace")


@pytest.mark.parametrize("text", _HOSTILE)
def test_nothing_a_command_is_called_makes_a_record(directory: str, text: str) -> None:
    origin = Origin(records.SESSION, records.SPAN, world_id=text, agent_id=text)
    request = Request((text, "-c", text), text, {}, cmd=text)
    with TraceWriter(directory) as writer:
        writer.append(command_start(origin, request))
        writer.append(NetEvent(origin, text, "denied", host=text))
    start, net = (from_json(data)[1] for data in read(directory))
    assert isinstance(start, CommandStart)
    assert start.argv == (text, "-c", text)
    assert isinstance(net, NetEvent)
    assert net.host == text
    assert verify(directory).ok
    with Index(directory) as index:
        assert [data["event_type"] for data in index.span(records.SPAN)] == ["command_start", "net"]


@pytest.mark.parametrize("text", _HOSTILE)
def test_a_record_that_dies_in_a_forged_word_does_not_bring_it_to_life(
    directory: str, text: str
) -> None:
    """The torn line ends inside the hostile word; the reader looks for a record's beginning."""
    with TraceWriter(directory) as writer:
        writer.append(command_start(records.ORIGIN, Request((text,), "/", {})))
    path = Path(directory, ACTIVE)
    content = path.read_bytes()
    header = content.index(b"\n") + 1
    for end in range(header, len(content), 7):
        path.write_bytes(content[:end])
        assert read(directory) == []
        with path.open("ab") as file:
            file.write(content[header:])
        assert len(read(directory)) == 1
        path.chmod(0o600)


def test_what_a_record_shows_cannot_drive_a_terminal(directory: str) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe\r\nroot# "
    origin = Origin(records.SESSION, records.SPAN, world_id=hostile)
    start = command_start(origin, Request((hostile, "a"), hostile, {}, cmd=hostile))
    with TraceWriter(directory) as writer:
        writer.append(start)
    shown = list(span_lines(read(directory)))
    assert all(line.isprintable() for line in shown)
    assert any("\\x1b]0;owned" in line for line in shown)


def test_another_user_can_neither_read_nor_write_the_trace() -> None:
    # Not below pytest's folder, where another user cannot even go.
    with tempfile.TemporaryDirectory(prefix="sw-trace-", dir="/tmp") as folder:
        directory = f"{folder}/@trace"
        write_request(directory, records.ORIGIN, Request(("x", "--token=hunter2"), "/", {}))
        _append(directory)
        # Even if somebody opens the folders for all: each file is closed by itself.
        for opened in (folder, directory, f"{directory}/spans"):
            os.chmod(opened, 0o755)  # noqa: S103 -- that is the attack
        files = [path for path in Path(directory).rglob("*") if path.is_file()]
        assert len(files) == 3
        for path in files:
            assert _as_stranger(partial(path.open, "rb")) == "PermissionError"
            assert _as_stranger(partial(path.open, "ab")) == "PermissionError"
        assert _as_stranger(lambda: os.listdir(directory)) == ""


@pytest.mark.parametrize("name", [ACTIVE, "trace.lock", "spans"])
def test_what_another_user_planted_is_refused(directory: str, name: str) -> None:
    os.makedirs(directory, mode=0o700)
    planted = Path(directory, name)
    if name == "spans":
        planted.mkdir(0o700)
    else:
        planted.touch(0o600)
    os.chown(planted, STRANGER, STRANGER)
    with pytest.raises(RefusedError, match=f"{STRANGER}"):
        _write(directory, name)
    if name == "spans":
        planted.rmdir()
        write_request(directory, records.ORIGIN, Request(("x",), "/", {}))
        assert read_request(directory, records.SPAN)[0].argv == ("x",)
    else:
        planted.unlink()
        _append(directory)
        assert len(read(directory)) == 1


def test_a_directory_of_another_user_is_refused(directory: str) -> None:
    os.makedirs(directory, mode=0o700)
    os.chown(directory, STRANGER, STRANGER)
    with pytest.raises(RefusedError, match=f"belongs to uid {STRANGER}"):
        _append(directory)
    os.chown(directory, 0, 0)
    _append(directory)


def test_a_trace_behind_a_link_is_refused(directory: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    Path(directory).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TraceError, match="cannot open the trace"):
        _append(directory)
    assert os.listdir(tmp_path / "elsewhere") == []


def _write(directory: str, name: str) -> None:
    if name == "spans":
        write_request(directory, records.ORIGIN, Request(("x",), "/", {}))
    else:
        _append(directory)


def _append(directory: str) -> None:
    with TraceWriter(directory) as writer:
        writer.append(records.START)


def _as_stranger(act: Callable[[], object]) -> str:
    """Do something as another user; return the name of the error, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            act()
        except BaseException as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    told = os.read(reader, 100).decode()
    os.close(reader)
    return told
