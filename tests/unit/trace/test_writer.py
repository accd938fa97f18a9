from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from substrate.errors import RefusedError, TraceError, TraceWriteError, UnsupportedError, UsageError
from substrate.kernel.procfs import mount_lines
from substrate.trace import locking, rotation
from substrate.trace.directory import ACTIVE, sealed_segments
from substrate.trace.reader import Reader, Torn
from substrate.trace.verify import verify
from substrate.trace.writer import MARKER, TraceWriter
from tests.support import records
from tests.support.trace import line, read

SMALL = 4096


def test_a_record_is_one_line_behind_the_header_of_its_segment(directory: str) -> None:
    with TraceWriter(directory) as writer:
        ts = writer.append(records.START)
    header, record = Path(directory, ACTIVE).read_text("ascii").splitlines()
    assert json.loads(header)["event_type"] == "segment_open"
    assert json.loads(header)["prev"] is None
    assert json.loads(record)["ts"] == ts
    assert record.encode().startswith(MARKER)


def test_the_trace_is_for_its_user_alone(directory: str) -> None:
    mask = os.umask(0)
    try:
        TraceWriter(directory).append(records.START)
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path(directory).iterdir()}
    assert modes == {ACTIVE: 0o600, "trace.lock": 0o600}
    assert Path(directory).stat().st_mode & 0o777 == 0o700


def test_a_full_segment_is_sealed_and_the_next_one_names_it(directory: str) -> None:
    with TraceWriter(directory, SMALL) as writer:
        for number in range(40):
            writer.append_line(line(number, 500))
    sealed = [name for _, name in _sealed(directory)]
    assert len(sealed) >= 4
    assert all(Path(directory, name).stat().st_mode & 0o777 == 0o400 for name in sealed)
    assert [data["n"] for data in read(directory)] == list(range(40))
    verdict = verify(directory)
    assert [fault.kind for fault in verdict.problems if fault.kind != "shape"] == []
    assert verdict.segments == len(sealed) + 1


def test_a_record_longer_than_a_segment_is_taken_whole(directory: str) -> None:
    with TraceWriter(directory, SMALL) as writer:
        writer.append_line(line(0, 3 * SMALL))
        writer.append_line(line(1, 10))
    assert [data["n"] for data in read(directory)] == [0, 1]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{}\n",
        b'{"v":1,"ts":"x"}',
        b'{"v":1,"ts":"x"}\n\n',
        b'{"v":1,"ts":"a\nb"}\n',
        b' {"v":1,"ts":"x"}\n',
        b'{"v":1,"ts":"x","e":{"v":1,"ts":"y"}}\n',
    ],
)
def test_what_a_reader_could_not_find_again_is_not_written(directory: str, bad: bytes) -> None:
    with TraceWriter(directory) as writer:
        writer.append(records.START)
        with pytest.raises(TraceWriteError):
            writer.append_line(bad)
    assert len(read(directory)) == 1


@pytest.mark.parametrize("name", [ACTIVE, "trace.lock", ".trace.jsonl.new"])
def test_a_link_in_place_of_a_file_is_not_followed(directory: str, name: str) -> None:
    outside = Path(directory).parent / "outside"
    os.makedirs(directory, mode=0o700)
    outside.write_text("precious")
    Path(directory, name).symlink_to(outside)
    with pytest.raises(TraceWriteError), TraceWriter(directory) as writer:
        writer.append(records.START)
    assert outside.read_text() == "precious"


def test_a_fifo_in_place_of_the_segment_is_refused_without_waiting(directory: str) -> None:
    os.makedirs(directory, mode=0o700)
    os.mkfifo(Path(directory, ACTIVE), 0o600)
    with pytest.raises((RefusedError, TraceWriteError)):
        TraceWriter(directory).append(records.START)


def test_a_segment_open_to_others_is_refused(directory: str) -> None:
    with TraceWriter(directory) as writer:
        writer.append(records.START)
    Path(directory, ACTIVE).chmod(0o622)
    with pytest.raises(RefusedError, match="open to others"):
        TraceWriter(directory).append(records.START)


def test_a_directory_open_to_others_is_refused(directory: str) -> None:
    os.makedirs(directory)
    Path(directory).chmod(0o777)
    with pytest.raises(RefusedError, match="its user's alone"):
        TraceWriter(directory).append(records.START)


def test_a_record_without_room_is_an_error_and_leaves_no_stump(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TraceWriter(directory)
    writer.append_line(line(0, 50))
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
        with pytest.raises(TraceWriteError, match="No space left") as caught:
            writer.append_line(line(1, 50))
    assert "make room" in caught.value.hint
    writer.append_line(line(2, 50))
    assert [data["n"] for data in read(directory)] == [0, 2]
    with Reader(directory) as reader:
        assert not [found for found in reader.scan() if isinstance(found, Torn)]


def test_a_stump_that_others_wrote_behind_stays_and_costs_nobody_a_record(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, writer = TraceWriter(directory), TraceWriter(directory)
    other.append_line(line(0, 50))
    real = os.write

    def half(fd: int, data: bytes) -> int:
        count = real(fd, data[: len(data) // 2])
        patch.undo()
        other.append_line(line(1, 50))
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(TraceWriteError):
            writer.append_line(line(2, 50))
    assert [data["n"] for data in read(directory)] == [0, 1]
    with Reader(directory) as reader:
        assert len([found for found in reader.scan() if isinstance(found, Torn)]) == 1


def test_threads_share_a_writer(directory: str) -> None:
    writer = TraceWriter(directory, SMALL)

    def write(base: int) -> None:
        for number in range(25):
            writer.append_line(line(base + number, 300))

    threads = [threading.Thread(target=write, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(data["n"] for data in read(directory))
    assert found == [1000 * n + number for n in range(4) for number in range(25)]


def test_a_forked_child_has_locks_of_its_own(directory: str) -> None:
    writer = TraceWriter(directory)
    writer.append_line(line(0, 50))
    held = writer._fd
    fcntl.flock(held, fcntl.LOCK_SH)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            writer.append_line(line(1, 50))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # Had the child unlocked our file description, the exclusive lock would be free.
    other = os.open(Path(directory, ACTIVE), os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    fcntl.flock(held, fcntl.LOCK_UN)
    writer.append_line(line(2, 50))
    assert [data["n"] for data in read(directory)] == [0, 1, 2]


def test_descriptors_are_not_inherited(directory: str) -> None:
    writer = TraceWriter(directory)
    writer.append(records.START)
    assert not os.get_inheritable(writer._fd)
    assert not os.get_inheritable(writer._directory_fd)
    writer.close()


def test_a_lock_that_is_never_given_up_is_an_error(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "PATIENCE_S", 0.01)
    writer = TraceWriter(directory)
    writer.append_line(line(0, 50))
    other = os.open(Path(directory, ACTIVE), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(TraceWriteError, match="locked by somebody else"):
        writer.append_line(line(1, 50))
    os.close(other)
    writer.append_line(line(2, 50))
    assert [data["n"] for data in read(directory)] == [0, 2]


def test_a_removed_segment_is_not_written_to_any_more(directory: str) -> None:
    writer = TraceWriter(directory)
    writer.append_line(line(0, 50))
    Path(directory, ACTIVE).unlink()
    writer.append_line(line(1, 50))
    assert [data["n"] for data in read(directory)] == [1]


def test_a_segment_whose_header_is_gone_is_not_sealed_over(directory: str) -> None:
    writer = TraceWriter(directory, SMALL)
    writer.append_line(line(0, 50))
    with Path(directory, ACTIVE).open("r+b") as file:
        file.write(b"x" * 10)
    writer.append_line(line(1, SMALL))
    with pytest.raises(TraceError, match="does not begin with the header"):
        writer.append_line(line(2, 50))


def test_a_trace_on_a_network_file_system_is_refused(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "_REMOTE", frozenset(line.type for line in mount_lines()))
    with pytest.raises(UnsupportedError, match="the trace would be on"):
        TraceWriter(directory).append(records.START)


@pytest.mark.parametrize(("segment_bytes", "sync"), [(100, "seal"), (SMALL, "never")])
def test_settings_that_cannot_be_are_refused(segment_bytes: int, sync: str) -> None:
    with pytest.raises(UsageError):
        TraceWriter("/nowhere", segment_bytes, sync)


def test_every_record_can_be_handed_to_the_disk(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with TraceWriter(directory, sync="record") as writer:
        writer.append(records.START)
        writer.append(records.COMPLETE)
    assert len(synced) == 2


def _sealed(directory: str) -> list[tuple[int, str]]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return sealed_segments(fd)
    finally:
        os.close(fd)
