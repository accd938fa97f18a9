"""Three-way: what did the host change meanwhile that the world has changed too.

Entries compare the world's result with the project as it is now. What is missing is the third
side, the project as the world found it; it is replaced by the question whether the host's file is
still that one: its ctime is before the moment the world took it over, or it is exactly what we
left there ourselves. Whatever cannot be told counts as changed.
"""

from __future__ import annotations

from substrate.filesystem.entries import DELETE, MOD, RENAME, TOUCHED, WRITE
from substrate.filesystem.project import is_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from substrate.filesystem.changes import LayerChanges
    from substrate.filesystem.entries import Entry
    from substrate.filesystem.items import Item
    from substrate.filesystem.known import Known
    from substrate.filesystem.project import Project

ROOT = "."
CHANGED = "changed on the host"
REMOVED = "removed on the host"
MADE = "made on the host"
REPLACED = "replaced on the host"
SEVERED = "moved on the host, where it was made from"


def host_path(entry: Entry) -> str:
    """Return where the project has what an entry was before, "" for its root."""
    if entry.change in {WRITE, DELETE}:
        return entry.path
    path = entry.origin or entry.path
    return "" if path == ROOT else path


class ThreeWay:
    """Answers for entries whether the host changed the same thing."""

    def __init__(self, changes: LayerChanges, project: Project, known: Known) -> None:
        self._changes = changes
        self._project = project
        self._known = known
        self._inodes: set[int] | None = None

    def conflicts(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Return path -> what the host did, for every entry that is not clean."""
        found: dict[str, str] = {}
        for entry in entries:
            if entry.change == TOUCHED:
                continue
            reason = self.reason(entry)
            if reason:
                found[entry.path] = reason
        return found

    def reason(self, entry: Entry) -> str:
        """Return what the host did to an entry's path; empty when nothing."""
        if self._changes.is_severed(entry.path) or self._changes.is_severed(entry.origin):
            return SEVERED
        found = self._reason(entry)
        place = host_path(entry)
        if found and found != MADE and self._changes.is_as_inherited(place, self._project):
            return ""
        return found

    def _reason(self, entry: Entry) -> str:
        status = self._project.status(host_path(entry))
        if entry.change == WRITE:
            return self._new(entry, status)
        if status is None:
            return REMOVED
        if entry.path == ROOT:
            return "" if self._changes.baseline.same_root(status) else CHANGED
        if entry.change == RENAME and self._project.status(entry.path) is not None:
            return MADE
        return self._old(entry, status)

    def _old(self, entry: Entry, status: os.stat_result) -> str:
        # What the host changed inside a directory moves along with it.
        moves = entry.change == RENAME and is_folder(status)
        if not moves and self._known.holds(status):
            return ""
        if not moves and status.st_ctime_ns >= self._seen_ns(entry, status):
            return CHANGED
        return self._other_inode(entry, status)

    def is_clean_folder(self, path: str) -> bool:
        """Whether nothing of the host's has changed a directory, or the entries of it."""
        status = self._project.status(path)
        if status is None:
            return False
        return self._known.holds(status) or status.st_ctime_ns < self._changes.baseline.created_ns

    def world_changed_root(self, entry: Entry) -> bool:
        """Whether the root's metadata differ because of the world and not because of the host."""
        base = self._changes.baseline
        if entry.item is None or not base.inode:
            return True
        return not base.same_root(entry.item.status)

    def _new(self, entry: Entry, status: os.stat_result | None) -> str:
        if status is not None:
            return MADE
        item = entry.item
        if item is None or not self._changes.is_copy(item):
            return ""
        inode = self._changes.origin(item)
        exists = inode in self._originals() if inode else self._may_be_moved(item)
        if exists or self._known.was_here(inode) or self._was_elsewhere(entry):
            return ""
        return "" if self._changes.may_come_from_layer(item) else REMOVED

    def _originals(self) -> set[int]:
        """Return the inodes of what the changes replace, remove, move or leave as it was."""
        if self._inodes is None:
            self._inodes = set()
            for entry in self._changes.diff.entries:
                status = None if entry.change == WRITE else self._project.status(host_path(entry))
                if status is not None:
                    self._inodes.add(status.st_ino)
        return self._inodes

    def _was_elsewhere(self, entry: Entry) -> bool:
        """Whether the overlay itself says that it was moved here."""
        return self._changes.place_before(entry.path) != entry.path

    def _may_be_moved(self, item: Item) -> bool:
        """Whether a copy without a recorded original may be one of something still there.

        Rootless the overlay keeps no inode. Directories are never moved there.
        """
        if item.kind == "dir":
            return False
        if not self._known.is_empty:
            # An accept of a part may have displaced it.
            return True
        for entry in self._changes.diff.entries:
            # Touched may be a new file with the content of the one that was moved away.
            if entry.change in {MOD, DELETE, TOUCHED} and entry.kind_before != "dir":
                return True
            other = entry.item
            if entry.change != WRITE and other is not None and _is_same_file(other, item):
                return True
        return False

    def _other_inode(self, entry: Entry, status: os.stat_result) -> str:
        inode = 0 if entry.item is None else self._changes.first_origin(entry.item)
        same = not inode or inode == status.st_ino or self._known.holds(status)
        # The world may have moved another file of the project here.
        moved = same or inode in self._originals() or self._was_elsewhere(entry)
        return "" if moved or self._known.was_here(inode) else REPLACED

    def _seen_ns(self, entry: Entry, status: os.stat_result) -> int:
        return self._changes.seen_ns(entry.item, host_path(entry), status)


def _is_same_file(one: Item, two: Item) -> bool:
    first, second = one.status, two.status
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
