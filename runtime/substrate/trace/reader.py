"""Reading a trace: every record of every segment in order, past torn lines.

A writer that is killed inside `write(2)` leaves the beginning of a line, and the next writer's
line goes on behind it. Such a line is cut at the last place where a record begins; that record is
whole, and the torn one before it was never acknowledged.
"""

from __future__ import annotations

import os

from substrate.errors import TraceError
from substrate.jsontext import loads
from substrate.record import record
from substrate.trace.directory import ACTIVE, open_directory, sealed_name, sealed_segments
from substrate.trace.writer import MARKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

_CHUNK = 1 << 16


@record
class Located:
    """A record and where it is: bytes from `offset` in the file `segment`, the line end too."""

    data: dict[str, Any]
    segment: str
    offset: int
    length: int


@record
class Torn:
    """Bytes of a segment that are no record. `at_end`: the last ones, without a line end."""

    segment: str
    offset: int
    length: int
    at_end: bool = False


class Reader:
    """The segments of a trace as they were when it was made. Use as a context manager."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.directory_fd = open_directory(directory)
        # The active one first: if it is sealed meanwhile, it is still this very file.
        self._active = self._open(ACTIVE)
        self._sealed = [name for _, name in sealed_segments(self.directory_fd)]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._active is not None:
            self._active.close()
            self._active = None
        if self.directory_fd >= 0:
            os.close(self.directory_fd)
            self.directory_fd = -1

    def segments(self) -> Iterator[tuple[str, BinaryIO]]:
        """Yield name and open file of every segment, oldest first; the files are closed here."""
        active = self._active
        identity = _identity(active) if active is not None else None
        for name in self._sealed:
            file = self._open(name)
            if file is None:
                message = f"the segment {name} has gone while the trace was read"
                raise TraceError(message, "read it again")
            with file:
                if _identity(file) != identity:
                    yield name, file
        if active is not None:
            active.seek(0)
            yield ACTIVE, active

    def __iter__(self) -> Iterator[Located]:
        """Yield every record, headers of segments too."""
        return (found for found in self.scan() if isinstance(found, Located))

    def scan(self) -> Iterator[Located | Torn]:
        """Yield every record and, in their places, the bytes that are none."""
        for name, file in self.segments():
            yield from scan_file(file, name)

    def newest(self) -> BinaryIO | None:
        """Return the last segment, open; None when there is none. The caller closes it."""
        names = [ACTIVE] if self._active is not None else self._sealed
        return self._open(names[-1]) if names else None

    def segment(self, seq: int, segment_id: str) -> tuple[str, BinaryIO] | None:
        """Return name and open file of one segment, None when it has gone; the caller closes it.

        It may be sealed, and so be renamed, at any moment: after the active one was opened, its
        later name is tried once more.
        """
        for name in (sealed_name(seq, segment_id), ACTIVE, sealed_name(seq, segment_id)):
            file = self._open(name)
            if file is not None:
                first = next(scan_file(file, name), None)
                if isinstance(first, Located) and first.data.get("segment_id") == segment_id:
                    return name, file
                file.close()
        return None

    def _open(self, name: str) -> BinaryIO | None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            return open(os.open(name, flags, dir_fd=self.directory_fd), "rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"cannot read the segment {name}: {error.strerror}"
            raise TraceError(message, f"look at {self.directory}") from None


def record_at(file: BinaryIO, offset: int, length: int) -> dict[str, Any] | None:
    """Return the record at a place of an open segment, None when there is none."""
    return _parse(os.pread(file.fileno(), length, offset))


def scan_file(
    file: BinaryIO, name: str, offset: int = 0, end: int | None = None
) -> Iterator[Located | Torn]:
    """Yield the records of one open segment from a line's beginning on, and what is torn.

    `end` is where to stop, behind a line end: a segment may grow while it is read.
    """
    file.seek(offset)
    while end is None or offset < end:
        line = file.readline()
        if not line:
            return
        data = _parse(line)
        if data is not None:
            yield Located(data, name, offset, len(line))
        else:
            yield from _resynchronise(line, name, offset)
        offset += len(line)


def end_of_lines(fd: int) -> int:
    """Return a segment's length up to its last line end; the rest is not written yet, or torn."""
    position = os.fstat(fd).st_size
    while position > 0:
        start = max(0, position - _CHUNK)
        found = os.pread(fd, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _resynchronise(line: bytes, name: str, offset: int) -> Iterator[Located | Torn]:
    cut = line.rfind(MARKER)
    data = _parse(line[cut:]) if cut > 0 else None
    if data is None:
        yield Torn(name, offset, len(line), at_end=not line.endswith(b"\n"))
        return
    yield Torn(name, offset, cut)
    yield Located(data, name, offset + cut, len(line) - cut)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line, None when it is no whole one."""
    if not line.startswith(MARKER) or not line.endswith(b"\n"):
        return None
    try:
        data = loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _identity(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino
