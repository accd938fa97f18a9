"""The changes in a copy as accept and discard need them, and the table that follows from them.

Which file of the project something was made from, and whether the host has changed that since, is
in the table: nothing of it has to be told from times.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from substrate.filesystem.changes import LayerChanges
from substrate.filesystem.conflict import ROOT
from substrate.filesystem.copies.derived import digest_of
from substrate.filesystem.copies.table import TABLE, Row, Table, read_table, seen
from substrate.filesystem.entries import DELETE, RENAME, TOUCHED
from substrate.filesystem.renames import after_renames
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from substrate.filesystem.baseline import Baseline
    from substrate.filesystem.copies.derived import Derived
    from substrate.filesystem.copies.layer import CopiedChanges
    from substrate.filesystem.entries import Entry
    from substrate.filesystem.items import Item

_NEXT = f"{TABLE}.next-"
_BACK = f"{TABLE}.back-"
# In the way back, for a path that had none.
_NO_ROW = Row((0,) * 7, 0, ())
# A digest that is none.
_UNREAD = b"?"


class CopiedLayerChanges(LayerChanges):
    """The changes in a world's copy against its project, within `with`."""

    def __init__(self, changes: CopiedChanges, baseline: Baseline, directory: str) -> None:
        """Take changes that are not open yet, and the directory of the copy and its table."""
        super().__init__(changes, baseline)
        self.copied = changes
        self._directory = directory

    def seen_ns(self, item: Item | None, path: str, status: os.stat_result) -> int:
        """Return a time after the last change of the host's file if the copy is of that, else 0."""
        row = self.copied.derived.table.rows.get(path)
        return status.st_ctime_ns + 1 if row is not None and row.is_found(status) else 0

    def origin(self, item: Item) -> int:
        """Return the inode of the project's file an item was made from, 0 when unknown."""
        if self.in_project(item) or not item.name:
            return 0
        return self.copied.derived.mark_of(item.folder.path_of(item.name)).origin

    def is_copy(self, item: Item) -> bool:
        """Whether an item was made from a file of the project."""
        return self.origin(item) != 0

    def keep_apart(self, path: str) -> None:
        """Have a new directory stay as it is: in a copy it does."""

    def settlement(
        self, chosen: list[Entry], number: int, *, lives: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write the table that is true once these changes are in the project, and the way back.

        Before any of them is staged: what is written to a file from now on is not accepted.
        `lives`: processes may have these files mapped. Returns what to `settle` after that, and
        after its undo.
        """
        before = self.copied.derived.table
        digest = self._digest if lives else _no_digest
        after = _accepted(self.copied.derived, chosen, self._equal_paths(), digest)
        paths = before.rows.keys() | after.rows.keys()
        changed = [path for path in paths if before.rows.get(path) != after.rows.get(path)]
        rows = {path: before.rows.get(path, _NO_ROW) for path in changed}
        Table(rows, before.shift).write(os.path.join(self._directory, f"{_BACK}{number}"))
        after.write(os.path.join(self._directory, f"{_NEXT}{number}"))
        return {"adopt": number}, {"restore": number}

    def _digest(self, path: str) -> bytes:
        """Return the digest of what a file holds, one that no content has when it is not read."""
        found = self._merged.trees[0].find(path)
        if found is None or not stat.S_ISREG(found[2].st_mode):
            return b""
        return digest_of(*found) or _UNREAD

    def _equal_paths(self) -> list[str]:
        """Return what was changed and is as in the project all the same, such as directories."""
        told = {"" if entry.path == ROOT else entry.path for entry in self.diff.entries}
        return [path for path in self.copied.derived.raw if path not in told]


def adopt_table(directory: str, number: int) -> None:
    """Let the table that was written for an accept be the copy's; twice is once."""
    with suppress(FileNotFoundError):
        new = os.path.join(directory, f"{_NEXT}{number}")
        os.replace(new, os.path.join(directory, TABLE))


def restore_rows(directory: str, number: int) -> None:
    """Make what an accept took out of the changes one again; twice is once."""
    back, path = os.path.join(directory, f"{_BACK}{number}"), os.path.join(directory, TABLE)
    if not os.path.lexists(back):
        return
    table = read_table(path)
    rows = table.rows | read_table(back).rows
    Table({at: row for at, row in rows.items() if row != _NO_ROW}, table.shift).write(path)
    os.unlink(back)


def _no_digest(_path: str) -> bytes:
    return b""


def _accepted(
    derived: Derived, chosen: list[Entry], equal: list[str], digest: Callable[[str], bytes]
) -> Table:
    """Return the table of a copy when what was chosen is also in the project."""
    gone = {entry.path for entry in chosen if entry.change == DELETE}
    renames = {entry.origin: entry.path for entry in chosen if entry.change == RENAME}
    rows = {
        after_renames(path, renames) if renames else path: row
        for path, row in derived.table.rows.items()
        if path not in gone
    }
    for path in equal:
        if path in rows:
            rows[path] = _row(derived, path, rows[path], rows[path].found, digest(path))
    for entry in chosen:
        path = "" if entry.path == ROOT else entry.path
        if entry.change == DELETE:
            continue
        before = rows.get(path)
        if path not in derived.raw:
            # It came with a directory that was moved, and is itself what it was there.
            item = entry.item
            there = None if item is None else item.folder.path_of(item.name)
            row = derived.table.rows.get(there or "")
            if row is not None:
                rows[path] = replace(row, found=())
            continue
        touched = before is not None and entry.change == TOUCHED
        found = before.found if touched and before else ()
        rows[path] = _row(derived, path, before, found, digest(path))
    return Table(rows, derived.table.shift)


def _row(
    derived: Derived, path: str, before: Row | None, found: tuple[int, ...], digest: bytes
) -> Row:
    """Return the row of a path as it is in the copy now."""
    status = derived.raw[path]
    birth = derived.births.get(path, 0)
    if before is not None and before.inode == status.st_ino:
        birth = before.birth_ns
    return Row(seen(status), birth, found, digest)
