"""kill -9 at each step of an append and of a rotation: what was acknowledged is there, whole."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from substrate.trace.directory import ACTIVE
from substrate.trace.events import Origin, WorldEvent, from_json
from substrate.trace.ids import new_span_id
from substrate.trace.spans import Request, read_request, write_request
from substrate.trace.verify import verify
from substrate.trace.writer import TraceWriter
from tests.support import dying, records
from tests.support.trace import read

_SMALL = 4096
_MOST_STEPS = 200


def _event(number: int) -> WorldEvent:
    return WorldEvent(Origin(records.SESSION), "created", reason=f"{number} {'x' * 200}")


def _numbers(directory: str) -> list[int]:
    events = [from_json(data)[1] for data in read(directory)]
    return [int((event.reason or "").split()[0]) for event in events if type(event) is WorldEvent]


def _append(directory: str, number: int) -> None:
    TraceWriter(directory, _SMALL).append(_event(number))


def _fill(directory: str) -> int:
    """Fill the first segment, so that the next record rolls it over; return how many it took."""
    count = 0
    with TraceWriter(directory, _SMALL) as writer:
        while not count or Path(directory, ACTIVE).stat().st_size < _SMALL:
            writer.append(_event(count))
            count += 1
    return count


@pytest.mark.parametrize("manner", dying.MANNERS)
@pytest.mark.parametrize("begun", ["nothing", "a segment", "a full segment"])
def test_a_writer_killed_at_any_step_loses_nothing_acknowledged(
    tmp_path: Path, begun: str, manner: str
) -> None:
    steps = 0
    for step in range(1, _MOST_STEPS):
        directory = str(tmp_path / f"{step}" / "@trace")
        count = 0
        if begun == "a segment":
            TraceWriter(directory, _SMALL).append(_event(0))
            count = 1
        elif begun == "a full segment":
            count = _fill(directory)
        reader, acknowledged = os.pipe()

        def act(directory: str = directory, count: int = count, done: int = acknowledged) -> None:
            TraceWriter(directory, _SMALL).append(_event(count))
            # Not os.write, which may be deadly.
            with open(done, "wb", buffering=0, closefd=False) as file:
                file.write(b"!")

        died = dying.dies_at(step, act, manner, dying.EVERY)
        os.close(acknowledged)
        was_acknowledged = os.read(reader, 1) == b"!"
        os.close(reader)
        with TraceWriter(directory, _SMALL) as writer:
            writer.append(_event(count + 1))
        found = _numbers(directory)
        assert found in ([*range(count), count, count + 1], [*range(count), count + 1])
        assert count in found or not was_acknowledged
        verdict = verify(directory)
        assert verdict.problems == ()
        assert verdict.torn <= (manner == "half")
        shutil.rmtree(tmp_path / f"{step}")
        if not died:
            assert was_acknowledged
            break
        steps += 1
    # Open, lock, write, unlock at the least; a rotation has four times as many.
    assert steps >= (20 if begun == "a full segment" else 5)


@pytest.mark.parametrize("manner", dying.MANNERS)
def test_an_exact_request_is_there_whole_or_not_at_all(tmp_path: Path, manner: str) -> None:
    directory = str(tmp_path / "@trace")
    request = Request(("make", "all"), "/", {"PATH": "/bin"})
    steps = 0
    for step in range(1, _MOST_STEPS):
        origin = Origin(records.SESSION, new_span_id())
        span_id = origin.span_id or ""
        died = dying.dies_at(
            step, partial(_write_request, directory, origin, request), manner, dying.EVERY
        )
        path = Path(directory, "spans", f"{span_id}.json")
        if path.exists():
            assert read_request(directory, span_id)[0] == request
        else:
            assert died
            write_request(directory, origin, request)
            assert read_request(directory, span_id)[0] == request
        if not died:
            break
        steps += 1
    assert steps >= 5


def _write_request(directory: str, origin: Origin, request: Request) -> None:
    write_request(directory, origin, request)


def test_a_second_writer_finishes_what_the_first_one_died_in(tmp_path: Path) -> None:
    """Three deaths in a row, each in the rotation the one before did not finish."""
    for step in range(1, 25):
        directory = str(tmp_path / f"{step}" / "@trace")
        count = _fill(directory)
        for later in range(3):
            dying.dies_at(step + later, partial(_append, directory, 9999), "before", dying.EVERY)
        with TraceWriter(directory, _SMALL) as writer:
            writer.append(_event(count))
        assert [number for number in _numbers(directory) if number != 9999] == [*range(count + 1)]
        assert verify(directory).problems == ()
        shutil.rmtree(tmp_path / f"{step}")
