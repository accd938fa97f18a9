"""Many writers at once, through rotations and deaths: no line is torn, mixed or lost."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from functools import partial
from typing import TYPE_CHECKING

from substrate.trace.index import Index
from substrate.trace.reader import Reader, Torn
from substrate.trace.verify import verify
from substrate.trace.writer import TraceWriter
from tests.support.trace import is_whole, line, read

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITERS = 8
_SMALLEST, _LARGEST = 1 << 10, 1 << 20
_KILLS = 40
_PATIENCE_S = 120.0


def test_lines_of_any_size_are_neither_torn_nor_mixed_while_segments_roll(tmp_path: object) -> None:
    directory = f"{tmp_path}/@trace"
    each = 30

    def write(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 -- repeatable, not secret
        with TraceWriter(directory, 2 << 20) as writer:
            for count in range(each):
                writer.append_line(line(count, _any_size(chance), number))

    children = [_child(partial(write, number)) for number in range(_WRITERS)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [
        0
    ] * _WRITERS
    found = read(directory)
    assert all(is_whole(data) for data in found)
    for number in range(_WRITERS):
        assert [data["n"] for data in found if data["writer"] == number] == [*range(each)]
    with Reader(directory) as reader:
        assert not [one for one in reader.scan() if isinstance(one, Torn)]
    verdict = verify(directory)
    assert {fault.kind for fault in verdict.problems} == {"shape"}
    assert verdict.segments > 5


def test_writers_killed_at_any_moment_lose_no_acknowledged_record(tmp_path: object) -> None:
    directory = f"{tmp_path}/@trace"
    chance = random.Random(7)  # noqa: S311 -- repeatable, not secret
    reader, acknowledged = os.pipe()
    os.set_blocking(reader, False)
    told: set[tuple[int, int]] = set()
    running = {_writer(directory, number, acknowledged): number for number in range(_WRITERS)}
    number = _WRITERS
    deadline = time.monotonic() + _PATIENCE_S
    for _ in range(_KILLS):
        assert time.monotonic() < deadline
        time.sleep(chance.uniform(0.005, 0.03))
        told |= _acknowledgements(reader)
        victim = chance.choice(list(running))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        del running[victim]
        running[_writer(directory, number, acknowledged)] = number
        number += 1
    for child in running:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(acknowledged)
    told |= _acknowledgements(reader)
    os.close(reader)
    with TraceWriter(directory) as writer:
        writer.append_line(line(0, 100, number))
    found = read(directory)
    assert all(is_whole(data) for data in found)
    kept = {(data["writer"], data["n"]) for data in found}
    assert len(kept) == len(found)
    assert told - kept == set()
    assert len(told) > _KILLS
    verdict = verify(directory)
    assert {fault.kind for fault in verdict.problems} <= {"shape"}
    assert verdict.segments > 3


def test_an_index_asked_while_others_write_is_never_wrong(tmp_path: object) -> None:
    directory = f"{tmp_path}/@trace"
    with TraceWriter(directory, 16 << 10) as writer:
        writer.append_line(line(0, 10))

    def write() -> None:
        with TraceWriter(directory, 16 << 10) as writer:
            for count in range(1, 300):
                writer.append_line(line(count, 500))

    children = [_child(write), _child(lambda: [_ask(directory) for _ in range(20)])]
    seen = 0
    for _ in range(20):
        now = _ask(directory)
        assert now >= seen
        seen = now
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert _ask(directory) == 300


def _ask(directory: str) -> int:
    with Index(directory) as index:
        found = [one.data["n"] for one in index.select()]
    assert found == [*range(len(found))]
    return len(found)


def _any_size(chance: random.Random) -> int:
    """Return a size, every order of magnitude as likely as another."""
    return int(_SMALLEST * (_LARGEST / _SMALLEST) ** chance.random())


def _writer(directory: str, number: int, acknowledged: int) -> int:
    """Start a writer that writes for ever and says of each record that it is there."""

    def write() -> None:
        chance = random.Random(number)  # noqa: S311 -- repeatable, not secret
        writer = TraceWriter(directory, 1 << 20)
        count = 0
        while True:
            writer.append_line(line(count, _any_size(chance) // 4, number))
            os.write(acknowledged, struct.pack("<II", number, count))
            count += 1

    return _child(write)


def _acknowledgements(fd: int) -> set[tuple[int, int]]:
    content = b""
    while True:
        try:
            chunk = os.read(fd, 1 << 16)
        except BlockingIOError:
            break
        if not chunk:
            break
        content += chunk
    return set(struct.iter_unpack("<II", content))


def _child(act: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        act()
        status = 0
    finally:
        os._exit(status)
