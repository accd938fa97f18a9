"""What another process has read of the layers before the walk asks.

Half of a walk over many directories is the kernel's time. With `kernel/native/look_ahead.c` that
passes on another processor, and in far fewer steps. The walk asks for one directory after the
other, in the order in which they come. Whatever is not in its place, because a running world has
changed something or the process has ended, the walk reads itself: this makes a walk faster and
decides nothing.
"""

from __future__ import annotations

import os
import sys
from _struct import Struct

from substrate.filesystem.marks import Marks
from substrate.kernel.looking import start_look_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from substrate.filesystem.merged import Merged

    # None: the level has nothing there. False: it is to be asked.
    Levels = list["Seen | Literal[False] | None"]
    # Path and name: what the levels have under that name in the directory with that path, which
    # is the same in each.
    Look = tuple[str, str, Levels]

# Levels that the program takes at most.
MOST_LEVELS = 64
# What look_ahead.c writes: record, level, os.stat_result, listing, entry.
_RECORD = Struct("=II").unpack_from
_LEVEL = Struct("=iI").unpack_from
_STATUS = Struct("=19q").unpack_from
_LISTING = Struct("=ixxxx").unpack_from
_ENTRY = Struct("=IBBxx").unpack_from
_HEAD, _STATUS_SIZE = 8, 19 * 8
_ENOENT, _NO_HIT, _UNSEEN_HIT, _UNLISTED = 2, 255, 254, -1
_CHUNK = 1 << 16
_ENCODING = sys.getfilesystemencoding()
# The order of os.stat_result is documented for the first ten only; in the next three are floats.
_LATER_FIELDS = {
    "st_atime_ns": 13, "st_mtime_ns": 14, "st_ctime_ns": 15,
    "st_blksize": 16, "st_blocks": 17, "st_rdev": 18,
}  # fmt: skip


class Seen:
    """A directory of one level: its status and marks, and what was read in it.

    `marks` is None where they have values that count. `listing` is that of an upper directory,
    and `statuses` what one below has under the names of that listing.
    """

    __slots__ = ("listing", "marks", "status", "statuses")

    def __init__(self, status: os.stat_result, marks: Marks | None) -> None:
        self.status = status
        self.marks = marks
        self.listing: list[tuple[str, os.stat_result | None]] | None = None
        self.statuses: dict[str, os.stat_result | None] | None = None


class LookAhead:
    """Reads on from some directories, of which the walk asks for the last first."""

    def __init__(self, merged: Merged, paths: list[str]) -> None:
        """Start; raises `OSError` when no process can be had. The trees stay the caller's."""
        self._merged = merged
        # What the walk will ask for; anything else that was read can be left out.
        self._waiting = set(paths)
        self._marks: dict[bytes, Marks | None] = {}
        roots = [tree.root_fd for tree in merged.trees]
        self._pid, self._fd = start_look_ahead(
            roots, merged.uppers, merged.prefix, map(os.fsencode, paths)
        )
        self._records = self._read()
        # Path, data and place of the record that comes next, where it has been read.
        self._next: tuple[str, bytes, int] | None = None

    def expect(self, path: str) -> None:
        """Note that the walk will ask for a directory it has found."""
        self._waiting.add(path)

    def take(self, folder: str, name: str) -> Look | None:
        """Return what was read of a directory in another, None when it was not."""
        path, waiting = f"{folder}/{name}" if folder else name, self._waiting
        waiting.discard(path)
        while True:
            record = self._next or next(self._records, None)
            if record is None:
                return None
            if record[0] == path:
                self._next = None
                return folder, name, self._levels(record[1], record[2])
            if record[0] in waiting:
                self._next = record
                return None
            self._next = None

    def close(self) -> None:
        """End the process if it has not ended."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        try:
            # It writes to nobody now, which ends it.
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            # A program that collects every child has us as its library.
            return

    def _read(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield path, data and place of each record; the path is not in what begins there."""
        data, at = b"", 0
        while True:
            if len(data) - at >= _HEAD:
                size, path_size = _RECORD(data, at)
                if len(data) - at >= size:
                    start = at + _HEAD
                    path = data[start : start + path_size].decode(_ENCODING, "surrogateescape")
                    yield path, data, start + path_size + 7 & ~7
                    at += size
                    continue
            more = os.read(self._fd, _CHUNK)
            if not more:
                return
            data, at = data[at:] + more, 0

    def _levels(self, data: bytes, at: int) -> Levels:
        """Decode a record."""
        uppers, marks, stat_result = self._merged.uppers, self._marks, os.stat_result
        levels: Levels = []
        below: dict[int, dict[str, os.stat_result | None]] = {}
        for number in range(len(self._merged.trees)):
            state, size = _LEVEL(data, at)
            at += _HEAD
            if state:
                levels.append(None if state == _ENOENT else False)
                continue
            status = stat_result(_STATUS(data, at))
            at += _STATUS_SIZE
            names = data[at : at + size]
            if names not in marks:
                marks[names] = self._marks_named(names)
            seen = Seen(status, marks[names])
            levels.append(seen)
            at = at + size + 7 & ~7
            if number >= uppers:
                below[number] = {}
        is_whole = True
        for number in range(uppers):
            (count,) = _LISTING(data, at)
            at += _HEAD
            if count == _UNLISTED:
                is_whole = False
                continue
            listing, at = _entries(data, at, count, below)
            if told := levels[number]:
                told.listing = listing
        if is_whole:
            for number, statuses in below.items():
                if told := levels[number]:
                    told.statuses = statuses
        return levels

    def _marks_named(self, names: bytes) -> Marks | None:
        """Return the marks that have these names; None if their values have to be read."""
        if b"overlay.opaque" in names or b"overlay.redirect" in names:
            return None
        merged, listed = self._merged, os.fsdecode(names).split("\0")[:-1]
        return Marks(-1, merged.prefix, follow=merged.follows, names=listed)


def can_look_ahead(merged: Merged) -> bool:
    """Whether the program can read these trees, and an `os.stat_result` be made of its answers."""
    from substrate.filesystem.descriptors import Tree

    probe = os.stat_result(range(19))
    return (
        len(merged.trees) <= MOST_LEVELS
        # Those of copies show something else than what is there.
        and all(type(tree) is Tree for tree in merged.trees)
        and all(getattr(probe, name) == place for name, place in _LATER_FIELDS.items())
    )


def _entries(
    data: bytes, at: int, count: int, below: dict[int, dict[str, os.stat_result | None]]
) -> tuple[list[tuple[str, os.stat_result | None]], int]:
    """Return a listing and where it ends; `below` gets what levels have under the names."""
    listing: list[tuple[str, os.stat_result | None]] = []
    stat_result = os.stat_result
    for _ in range(count):
        size, is_folder, hit = _ENTRY(data, at)
        at += _HEAD
        status = found = None
        if not is_folder:
            status = stat_result(_STATUS(data, at))
            at += _STATUS_SIZE
            if hit < _UNSEEN_HIT:
                found = stat_result(_STATUS(data, at))
                at += _STATUS_SIZE
        name = data[at : at + size].decode(_ENCODING, "surrogateescape")
        at = at + size + 7 & ~7
        listing.append((name, status))
        if is_folder or hit == _UNSEEN_HIT:
            continue
        for number, statuses in below.items():
            if number < hit:
                statuses[name] = None
            elif number == hit:
                statuses[name] = found
    return listing, at
