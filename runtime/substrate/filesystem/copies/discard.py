"""Discard a part of the changes in a copy: at some places it becomes what the project has."""

from __future__ import annotations

from substrate.errors import RefusedError
from substrate.filesystem.conflict import ROOT
from substrate.filesystem.entries import DELETE, META, RENAME, TOUCHED
from substrate.filesystem.renames import after_renames, is_inside
from substrate.printable import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from substrate.filesystem.changes import LayerChanges
    from substrate.filesystem.entries import Entry

    # Path in the copy, path in the project, and whether only the metadata of a directory.
    Place = tuple[str, str, bool]


def places_of(changes: LayerChanges, chosen: list[Entry]) -> list[Place]:
    """Return what must become the project's again, outer places before inner ones.

    Raises `RefusedError` for what cannot go without something that was not chosen.
    """
    planning = _Planning(changes, chosen)
    for entry in chosen:
        planning.add(entry)
    return planning.result()


class _Planning:
    def __init__(self, changes: LayerChanges, chosen: list[Entry]) -> None:
        self._changes = changes
        picked = {id(entry) for entry in chosen}
        entries = changes.diff.entries
        self._rest = [e for e in entries if id(e) not in picked and e.change != TOUCHED]
        # What stays moved: places of before are in there now.
        self._renames = {e.origin: e.path for e in self._rest if e.change == RENAME}
        self._places: dict[str, tuple[Entry, str, bool]] = {}

    def add(self, entry: Entry) -> None:
        """Plan for one entry."""
        item = entry.item
        if item is not None and item.marks is not None and item.marks.indexed:
            self._refuse(entry, "it is one of several names of a file that was changed")
        if entry.change == DELETE:
            self._show_again(entry, entry.path)
        elif entry.change == RENAME:
            self._places[entry.path] = (entry, entry.path, False)
            self._show_again(entry, entry.origin)
        else:
            path = "" if entry.path == ROOT else entry.path
            only_metadata = entry.kind == "dir" and entry.change in {META, TOUCHED}
            if not only_metadata or path not in self._places:
                self._places[path] = (entry, entry.origin or path, only_metadata)

    def result(self) -> list[Place]:
        """Return the places, without those that go with the directory they are in."""
        whole = {path for path, (_, _, only_metadata) in self._places.items() if not only_metadata}
        found: list[Place] = []
        for path in sorted(self._places, key=lambda path: path.split("/")):
            entry, origin, only_metadata = self._places[path]
            if is_inside(path, whole):
                continue
            if not only_metadata:
                self._check_alone(entry, path, origin)
            self._check_parent(entry, path)
            found.append((path, origin, only_metadata))
        return found

    def _show_again(self, entry: Entry, path: str) -> None:
        parent, _, name = path.rpartition("/")
        now = after_renames(parent, self._renames)
        self._places[f"{now}/{name}" if now else name] = (entry, path, False)

    def _check_alone(self, entry: Entry, path: str, origin: str) -> None:
        """Refuse when something that stays is there, is in it, or came out of it."""
        for other in self._rest:
            if other.change != DELETE and f"{other.path}/".startswith(path + "/"):
                self._refuse(entry, f"{quote(other.path)} stays, and is there")
            came_out = other.origin if other.change == RENAME else ""
            came_out = other.path if other.change == DELETE else came_out
            if came_out and came_out.startswith(origin + "/"):
                self._refuse(entry, f"{quote(came_out)} came out of it, and stays away")

    def _check_parent(self, entry: Entry, path: str) -> None:
        """Refuse where the directory of a place is not there, and does not come back either."""
        parent = path.rpartition("/")[0]
        if parent and not self._changes.has_folder(parent):
            self._refuse(entry, "its directory was removed or replaced")

    def _refuse(self, entry: Entry, reason: str) -> NoReturn:
        message = f"discarding {quote(entry.path)} alone: {reason}"
        raise RefusedError(message, "discard everything, or name that too")
