"""Finding records without reading the trace: an SQLite file that catches up when it is asked.

Writing a record costs nothing here. A question first reads what is new since the last one, a
segment's cursor and its rows in one transaction, so a crash leaves the index behind and never
wrong. It is derived: when it is damaged, of another version, or its directory cannot be written,
it is made again. What it answers is looked up in the trace, which alone is believed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from substrate.errors import SpanNotFoundError
from substrate.trace.events import SEGMENT_OPEN
from substrate.trace.reader import Located, Reader, end_of_lines, record_at, scan_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO

FILE = "index.sqlite"
VERSION = 1
_SCHEMA = """
CREATE TABLE segment (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL,
    segment_id TEXT NOT NULL UNIQUE, position INTEGER NOT NULL) STRICT;
CREATE TABLE record (segment INTEGER NOT NULL, position INTEGER NOT NULL, length INTEGER NOT NULL,
    ts TEXT NOT NULL, kind TEXT NOT NULL, session TEXT NOT NULL, span TEXT,
    PRIMARY KEY (segment, position)) STRICT, WITHOUT ROWID;
CREATE INDEX record_span ON record (span) WHERE span IS NOT NULL;
CREATE INDEX record_session ON record (session, ts);
CREATE INDEX record_ts ON record (ts);
"""
_SELECT = """
SELECT seq, segment_id, record.position, length, ts
FROM record JOIN segment ON segment.id = record.segment
WHERE CONDITION ORDER BY seq, record.segment, record.position
"""
_PATIENCE_S = 30.0


class Index:
    """The records of a trace by span, session, kind and time. Use as a context manager."""

    def __init__(self, directory: str) -> None:
        self._reader = Reader(directory)
        try:
            self._database = self._caught_up(directory)
        except BaseException:
            self._reader.close()
            raise

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and the trace."""
        self._database.close()
        self._reader.close()

    def span(self, span_id: str) -> list[dict[str, Any]]:
        """Return all records of a span in their order; raises `SpanNotFoundError`."""
        found = [located.data for located in self.select(span=span_id)]
        if not found:
            message = f"no record has the span {span_id}"
            raise SpanNotFoundError(message, "substrate log lists the spans")
        return found

    def select(
        self,
        *,
        span: str | None = None,
        session: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Located]:
        """Yield the records that fit all that is given, in the order of the trace.

        `since` and `until` are times as records have them, or beginnings of such: from the first
        on, and before the second.
        """
        filters = {
            "span = ?": span,
            "session = ?": session,
            "kind = ?": kind,
            "ts >= ?": since,
            "ts < ?": until,
        }
        given = {condition: value for condition, value in filters.items() if value is not None}
        condition = " AND ".join(given) or "1"
        rows = self._database.execute(
            _SELECT.replace("CONDITION", condition), tuple(given.values())
        )
        for (seq, segment_id), places in groupby(rows, key=lambda row: row[:2]):
            found = self._reader.segment(seq, segment_id)
            # What leads nowhere is of a segment that was removed since.
            if found is not None:
                with found[1] as file:
                    yield from _looked_up(file, found[0], places)

    def _caught_up(self, directory: str) -> sqlite3.Connection:
        path = os.path.join(directory, FILE)
        if os.fstat(self._reader.directory_fd).st_uid == os.geteuid():
            # A second time after a damaged or an old one was removed.
            for _ in range(2):
                try:
                    return self._opened(path)
                except sqlite3.OperationalError:
                    break
                except sqlite3.DatabaseError:
                    _remove(path)
        # Not ours to write, or no room: the whole trace is read now, and nothing is kept.
        return self._opened(":memory:")

    def _opened(self, path: str) -> sqlite3.Connection:
        database = _open(path)
        try:
            self._catch_up(database)
        except BaseException:
            database.close()
            raise
        return database

    def _catch_up(self, database: sqlite3.Connection) -> None:
        for name, file in self._reader.segments():
            first = next(scan_file(file, name), None)
            if not isinstance(first, Located) or first.data.get("event_type") != SEGMENT_OPEN:
                # Without a header it has no name that lasts; `verify` tells of it.
                continue
            _read_segment(database, file, name, first.data)


def _looked_up(file: BinaryIO, name: str, places: Iterable[tuple[Any, ...]]) -> Iterator[Located]:
    for _, _, position, length, ts in places:
        data = record_at(file, position, length)
        # The trace is believed, not the index.
        if data is not None and data.get("ts") == ts:
            yield Located(data, name, position, length)


def _read_segment(
    database: sqlite3.Connection, file: BinaryIO, name: str, header: dict[str, Any]
) -> None:
    # IMMEDIATE: two that catch up at once would read the same cursor.
    database.execute("BEGIN IMMEDIATE")
    with database:
        database.execute(
            "INSERT INTO segment (seq, segment_id, position) VALUES (?, ?, 0)"
            " ON CONFLICT (segment_id) DO NOTHING",
            (header["seq"], header["segment_id"]),
        )
        number, position = database.execute(
            "SELECT id, position FROM segment WHERE segment_id = ?", (header["segment_id"],)
        ).fetchone()
        end = end_of_lines(file.fileno())
        if end < position:
            # Shorter than it was: `verify` tells of it, and what is left is read again.
            database.execute("DELETE FROM record WHERE segment = ?", (number,))
            position = 0
        database.executemany(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?)",
            _rows(file, name, number, position, end),
        )
        database.execute("UPDATE segment SET position = ? WHERE id = ?", (end, number))


def _rows(
    file: BinaryIO, name: str, number: int, position: int, end: int
) -> Iterator[tuple[int, int, int, str, str, str, str | None]]:
    for found in scan_file(file, name, position, end):
        if not isinstance(found, Located) or found.data.get("event_type") == SEGMENT_OPEN:
            continue
        data = found.data
        span = data.get("span_id")
        yield (
            number,
            found.offset,
            found.length,
            str(data.get("ts")),
            str(data.get("event_type")),
            str(data.get("session_id")),
            span if isinstance(span, str) else None,
        )


def _open(path: str) -> sqlite3.Connection:
    """Open the database, making it when it is not there.

    Raises `sqlite3.DatabaseError` for a damaged one or one of another version.
    """
    if path != ":memory:":
        # sqlite3 would make it with the umask's mode; its journals take over this one.
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    database = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("BEGIN IMMEDIATE")
    with database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
    if version not in (0, VERSION):
        message = f"the index is of version {version}"
        raise sqlite3.DatabaseError(message)


def _remove(path: str) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(name)
