"""Copies of projects as worlds get them, made and changed without a runtime."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

from substrate.filesystem.baseline import read_baseline, write_baseline
from substrate.filesystem.choosing import choose
from substrate.filesystem.copies.changes import CopiedLayerChanges
from substrate.filesystem.copies.copier import Manner
from substrate.filesystem.copies.discard import places_of
from substrate.filesystem.copies.layer import CopiedChanges
from substrate.filesystem.copies.making import make_copy
from substrate.filesystem.copies.owners import Shift
from substrate.filesystem.copies.settling import refresh, settle, update
from substrate.filesystem.undo import finish
from tests.support.accepting import ALL, TICK_S, Stand

if TYPE_CHECKING:
    from collections.abc import Collection

    from substrate.filesystem.accept import Wish
    from substrate.filesystem.entries import Entry, FsDiff
    from tests.support.overlay import Snapshot


def manner(denied: Collection[str] = (), shift: Shift | None = None) -> Manner:
    """Return how a copy is made, but for some paths."""
    return Manner(shift or Shift(), lambda path: path in denied)


def copy_of(project: str, directory: str, denied: Collection[str] = ()) -> str:
    """Make a copy of a project below a new directory and return where it is."""
    os.makedirs(directory)
    make_copy(project, directory, manner(denied))
    return f"{directory}/copy"


def diff_of(directory: str, project: str) -> FsDiff:
    """Return what was changed in a copy."""
    with CopiedChanges(directory, project) as changes:
        return changes.diff


def nothing_denied(_path: str) -> bool:
    """Deny no path."""
    return False


class CopyStand(Stand):
    """As its base, with a copy of the project instead of a layer over it."""

    def mount(self) -> None:
        """Make the copy."""
        time.sleep(TICK_S)
        write_baseline(self.layer, self.lower)
        make_copy(self.lower, self.layer, manner())

    @property
    def shows_again(self) -> bool:
        """Whether the world would see what it saw."""
        return True

    def mount_again(self) -> None:
        """Show the copy as it is, which it always does."""

    def unmount(self) -> None:
        """Nothing is mounted."""

    def act(self, actions: list[list[Any]]) -> None:
        """Do what a world might."""
        self.host.act(f"{self.layer}/copy", actions)

    def seen(self) -> Snapshot:
        """Return what the world sees."""
        return self.host.snapshot(f"{self.layer}/copy")

    def apart(self) -> bool:
        """Whether the world has moved something, or has its own directory where the host has one.

        As they are on the host, such directories do not show in it.
        """
        changes = CopiedChanges(self.layer, self.lower)
        with changes:
            derived = changes.derived
            rows = derived.table.rows
            return any(mark.redirect for mark in derived.marks.values()) or any(
                os.path.isdir(f"{self.lower}/{path}")
                and stat.S_ISDIR(status.st_mode)
                and (path not in rows or rows[path].inode != status.st_ino)
                for path, status in derived.raw.items()
            )

    def links_seen(self) -> set[frozenset[str]]:
        """Return the names of each file that the world sees under several."""
        return self.host.links(f"{self.layer}/copy")

    def discard(self, paths: list[str]) -> list[Entry]:
        """Discard a part, as the verb does; the entries that it took."""
        with self._changes() as changes:
            chosen = choose(changes.diff.entries, paths, parents=False)
            places = places_of(changes, chosen)
        refresh(self.lower, self.layer, nothing_denied, places)
        return chosen

    def update(self) -> None:
        """Show the world what the host has changed, as before a command."""
        update(self.lower, self.layer, nothing_denied)

    def discard_all(self) -> None:
        """Discard everything, as the verb does."""
        refresh(self.lower, self.layer, nothing_denied)

    def accept(self, wish: Wish = ALL, *, lives: bool = False) -> int:
        """Accept, as the verb does; processes of the world keep nothing of it off."""
        number = super().accept(wish, lives=lives)
        if lives:
            finish(self.store, self._settle)
        return number

    def _changes(self) -> CopiedLayerChanges:
        baseline = read_baseline(self.layer)
        assert baseline is not None
        return CopiedLayerChanges(CopiedChanges(self.layer, self.lower), baseline, self.layer)

    def _settle(self, how: dict[str, Any], place: str) -> None:
        settle(self.layer, how)
