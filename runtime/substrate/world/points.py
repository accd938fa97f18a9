"""Points in the history of a world to which one can go back: its spans and named snapshots.

A point is the number of the topmost layer there was. Numbers are used again once layers were
dropped, so it is kept when that was: what is older than that and above is no point any more.
"""

from __future__ import annotations

import os

from substrate.errors import RefusedError, WorldStateError
from substrate.filesystem.baseline import stamp_ns
from substrate.world.accepted import highest_accepted
from substrate.world.spans import read_record, recorded_ns
from substrate.world.stack import read_layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOTS = "snapshots"
DROPPED_FILE = "dropped"
# A link to the number of the first point of a fork.
FLOOR_FILE = "first-point"


def number_of(data: str, point: str) -> int:
    """Return the number of the topmost layer at a span or snapshot of a world.

    Raises `SubstrateError` when there is none of that name, `WorldStateError` when its layers
    were dropped.
    """
    number, known_ns = 0, 0
    for name, at, made_ns in _snapshots(data):
        if name == point:
            number, known_ns = at, made_ns
    if not known_ns:
        for layer in read_layers(data):
            if layer.span_id == point:
                return layer.number
        number, known_ns = int(read_record(data, point)["layer"]), recorded_ns(data, point)
    if number < first_point(data):
        message = f"what came after {point} is accepted, and in the project"
        raise RefusedError(message, f"substrate-runtime undo {os.path.basename(data)}")
    for above, when_ns in _drops(data):
        if above < number and known_ns <= when_ns:
            message = f"the layers of {point} were dropped"
            raise WorldStateError(message, "name a span or snapshot that is still there")
    return number


def snapshots(data: str) -> Iterator[tuple[str, int]]:
    """Yield the name and number of every snapshot."""
    for name, number, _ in _snapshots(data):
        yield name, number


def forget_points(data: str, number: int) -> None:
    """Have no point any more above a number, whose layers are about to be dropped."""
    for name, at in list(snapshots(data)):
        if at > number:
            os.unlink(f"{data}/{SNAPSHOTS}/{name}")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{data}/{DROPPED_FILE}", flags, 0o600)
    now_ns = stamp_ns()
    with open(fd, "wb") as file:
        file.write(b"%d %d\n" % (number, now_ns))
    import time

    # What is recorded from here on is later, by the clock that files get their times from.
    while stamp_ns() == now_ns:
        time.sleep(0.001)


def forget_points_below(data: str, number: int) -> None:
    """Have no point below a number in a world that begins; its layers are another's to restore."""
    if number:
        os.symlink(str(number), f"{data}/{FLOOR_FILE}")


def first_point(data: str) -> int:
    """Return the number of the first point: what came before is accepted, and in the project."""
    try:
        floor = int(os.readlink(f"{data}/{FLOOR_FILE}"))
    except FileNotFoundError:
        floor = 0
    return max(highest_accepted(data), floor)


def _drops(data: str) -> Iterator[tuple[int, int]]:
    try:
        with open(f"{data}/{DROPPED_FILE}", encoding="ascii") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        above, when_ns = line.split()
        yield int(above), int(when_ns)


def _snapshots(data: str) -> Iterator[tuple[str, int, int]]:
    try:
        names = os.listdir(f"{data}/{SNAPSHOTS}")
    except FileNotFoundError:
        return
    for name in names:
        path = f"{data}/{SNAPSHOTS}/{name}"
        yield name, int(os.readlink(path)), os.lstat(path).st_mtime_ns
