from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.errors import TraceError, UsageError
from substrate.trace.directory import ACTIVE
from substrate.trace.spans import Request, command_start, write_request
from substrate.trace.verify import anchor, parse_anchor, verify
from substrate.trace.writer import TraceWriter
from tests.support import records

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound trace of at least five segments, for all tests of this file."""
    directory = tmp_path_factory.mktemp("sound") / "@trace"
    _fill(str(directory))
    return directory


@pytest.fixture
def filled(sound: Path, directory: str) -> str:
    """A sound trace to do something to."""
    shutil.copytree(sound, directory)
    return directory


def _fill(directory: str) -> None:
    with TraceWriter(directory, 4096) as writer:
        for _ in range(12):
            for event in records.ALL:
                writer.append(event)


def _sealed(directory: str) -> list[Path]:
    return sorted(Path(directory).glob("trace-*.jsonl"))


def _kinds(directory: str) -> set[str]:
    return {fault.kind for fault in verify(directory).problems}


def test_a_sound_trace_is_sound(filled: str) -> None:
    verdict = verify(filled)
    assert verdict.ok
    assert verdict.notes == ()
    assert (verdict.segments, verdict.records, verdict.torn) == (len(_sealed(filled)) + 1, 84, 0)
    assert verdict.segments >= 5
    assert json.loads(json.dumps(verdict.to_json()))["head"] == str(anchor(filled))


def _edit(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"wld_1", b"wld_2", 1))
    path.chmod(0o400)


def _truncate(path: Path) -> None:
    path.chmod(0o600)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    path.chmod(0o400)


def _extend(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    path.chmod(0o400)


def _reorder_lines(path: Path) -> None:
    path.chmod(0o600)
    first, second, third, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, third, second, *rest]))
    path.chmod(0o400)


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        (_edit, "edited"),
        (_truncate, "truncated"),
        (_extend, "extended"),
        (_reorder_lines, "edited"),
        (Path.unlink, "missing"),
    ],
)
def test_what_is_done_to_a_sealed_segment_shows(
    filled: str, attack: Callable[[Path], None], kind: str
) -> None:
    attack(_sealed(filled)[2])
    verdict = verify(filled)
    assert not verdict.ok
    assert {fault.kind for fault in verdict.problems} == {kind}


def test_removing_the_oldest_segments_shows_unless_it_was_retention(filled: str) -> None:
    for path in _sealed(filled)[:2]:
        path.unlink()
    assert _kinds(filled) == {"missing"}
    assert verify(filled, pruned=True).ok


def test_exchanging_two_segments_shows(filled: str) -> None:
    one, two = _sealed(filled)[1:3]
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)
    assert {"renamed", "missing"} <= _kinds(filled)


def test_a_segment_of_another_trace_shows(filled: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    with TraceWriter(other, 4096) as writer:
        for _ in range(40):
            writer.append(records.START)
    ours, foreign = _sealed(filled)[2], _sealed(other)[2]
    ours.unlink()
    foreign.rename(Path(filled, foreign.name))
    assert "exchanged" in _kinds(filled)


def test_a_header_that_is_gone_shows(filled: str) -> None:
    path = _sealed(filled)[2]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    assert "no-header" in _kinds(filled)


def test_a_header_inside_a_segment_shows(filled: str) -> None:
    path = Path(filled, ACTIVE)
    header = path.read_bytes().partition(b"\n")[0]
    with path.open("ab") as file:
        file.write(header + b"\n")
    assert _kinds(filled) == {"second-header"}


def test_a_record_of_another_shape_shows(filled: str) -> None:
    with Path(filled, ACTIVE).open("ab") as file:
        file.write(b'{"v":1,"ts":"yesterday","event_type":"net"}\n')
    verdict = verify(filled)
    (fault,) = verdict.problems
    assert fault.kind == "shape"
    assert "$.session_id: missing" in fault.detail
    assert "$.ts" in fault.detail


def test_a_torn_line_is_a_note_because_a_crash_explains_it(filled: str) -> None:
    with Path(filled, ACTIVE).open("ab") as file:
        file.write(b'{"v":1,"ts":"2026')
    with TraceWriter(filled, 1 << 20) as writer:
        writer.append(records.START)
    with Path(filled, ACTIVE).open("ab") as file:
        file.write(b'{"v":1,"ts":"2027')
    verdict = verify(filled)
    assert verdict.ok
    assert [fault.kind for fault in verdict.notes] == ["torn", "unfinished"]
    assert verdict.torn == 2


def test_permissions_that_are_too_wide_are_noted(filled: str) -> None:
    _sealed(filled)[0].chmod(0o644)
    _sealed(filled)[1].chmod(0o600)
    verdict = verify(filled)
    assert verdict.ok
    assert [fault.kind for fault in verdict.notes] == ["mode", "mode"]


def test_an_anchor_pins_what_was_there_and_lets_the_trace_grow(filled: str) -> None:
    pinned = parse_anchor(str(anchor(filled)))
    with TraceWriter(filled, 4096) as writer:
        for _ in range(30):
            writer.append(records.START)
    assert verify(filled, [pinned]).ok


def test_a_tail_that_was_removed_shows_by_an_anchor_and_by_nothing_else(filled: str) -> None:
    pinned = anchor(filled)
    path = Path(filled, ACTIVE)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert verify(filled).ok
    assert {fault.kind for fault in verify(filled, [pinned]).problems} == {"anchor"}


def test_a_segment_that_was_removed_at_the_end_shows_by_an_anchor(filled: str) -> None:
    pinned = anchor(filled)
    Path(filled, ACTIVE).unlink()
    verdict = verify(filled)
    assert verdict.ok
    assert [fault.kind for fault in verdict.notes] == ["no-active"]
    assert not verify(filled, [pinned]).ok


def test_a_trace_that_was_made_anew_shows_by_an_anchor(filled: str) -> None:
    pinned = anchor(filled)
    for path in Path(filled).iterdir():
        path.unlink()
    _fill(filled)
    assert verify(filled).ok
    assert not verify(filled, [pinned]).ok


def test_an_edit_before_an_anchor_in_the_active_segment_shows(filled: str) -> None:
    pinned = anchor(filled)
    path = Path(filled, ACTIVE)
    path.write_bytes(path.read_bytes().replace(b"agent-3", b"agent-4", 1))
    assert verify(filled).ok
    assert not verify(filled, [pinned]).ok


@pytest.mark.parametrize("text", ["", "x", "1-2-3-4", f"0-{'0' * 32}-1-{'a' * 64}", "٣-a-1-b"])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no anchor"):
        parse_anchor(text)


def test_there_is_no_anchor_of_nothing(directory: str) -> None:
    os.makedirs(directory, mode=0o700)
    with pytest.raises(TraceError, match="has no segment"):
        anchor(directory)


def test_an_exact_request_that_was_changed_shows(directory: str) -> None:
    request = Request(("make",), "/", {"PATH": "/bin"})
    recorded = write_request(directory, records.ORIGIN, request)
    with TraceWriter(directory) as writer:
        writer.append(command_start(records.ORIGIN, request, recorded))
    assert verify(directory, spans=True).ok
    path = Path(directory, "spans", f"{records.SPAN}.json")
    path.write_text(path.read_text().replace("make", "fake"))
    assert verify(directory).ok
    assert {fault.kind for fault in verify(directory, spans=True).problems} == {"request"}
    path.unlink()
    verdict = verify(directory, spans=True)
    assert verdict.ok
    assert [fault.kind for fault in verdict.notes] == ["no-request"]
