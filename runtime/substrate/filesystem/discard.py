"""Discard: chosen changes go from a layer, and what was there before shows again.

An entry of the upper directory is moved out of it, one rename each, through the same journal as an
accept: the layer is what it was, or all that was chosen is gone from it. Where the project does not
show by that alone (inside directories that were replaced, for instance) it is refused by name.
"""

from __future__ import annotations

import stat

from substrate.errors import RefusedError
from substrate.filesystem.copying import metadata_at
from substrate.filesystem.entries import DELETE, META, RENAME, WRITE
from substrate.filesystem.identity import identity_of
from substrate.filesystem.operations import OUT, SET, Operation
from substrate.filesystem.renames import after_renames, is_inside
from substrate.printable import quote
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from substrate.filesystem.changes import LayerChanges
    from substrate.filesystem.entries import Entry
    from substrate.filesystem.project import Project

_WHOLE = "discard everything, or accept it and undo"


def plan_discard(
    changes: LayerChanges, chosen: list[Entry], upper: Project, project: Project
) -> tuple[Operation, ...]:
    """Return the operations on an upper directory that take the chosen changes out of it.

    Raises `RefusedError` for what cannot be taken out without changing what the rest means.
    """
    planning = _Planning(changes, chosen, upper, project)
    for entry in chosen:
        planning.add(entry)
    return planning.operations()


class _Planning:
    def __init__(
        self, changes: LayerChanges, chosen: list[Entry], upper: Project, project: Project
    ) -> None:
        self._changes = changes
        self._upper = upper
        self._project = project
        entries = changes.diff.entries
        for entry in entries:
            if entry.item is not None and entry.item.marks is not None and entry.item.marks.indexed:
                self._refuse(entry, "it is one of several names of a file that was changed")
        self._renames = {entry.origin: entry.path for entry in entries if entry.change == RENAME}
        picked = {id(entry) for entry in chosen}
        self._rest = [entry for entry in entries if id(entry) not in picked]
        self._going = {entry.path for entry in chosen if entry.change in {WRITE, RENAME}}
        self._deleted = {entry.path for entry in chosen if entry.change == DELETE}
        self._origins = {
            changes.origin(item): entry.path
            for entry in self._rest
            if (item := entry.item) is not None
        }
        self._moved = [(path, old) for path, old in changes.redirects() if path != old]
        self._outs: dict[str, Operation] = {}
        self._sets: list[Operation] = []

    def add(self, entry: Entry) -> None:
        """Plan for one entry."""
        if entry.change == DELETE:
            self._show_again(entry, entry.path)
        elif entry.change == RENAME:
            self._check_rename(entry)
            self._check_nothing_shows(entry)
            self._take_out(entry, entry.path)
            self._show_again(entry, entry.origin)
        elif entry.change == WRITE:
            if not is_inside(entry.path, self._going):
                self._check_nothing_shows(entry)
                self._take_out(entry, entry.path)
        elif not is_inside(entry.path, self._going):
            self._uncover(entry)

    def operations(self) -> tuple[Operation, ...]:
        """Return the operations, inner before outer; what goes with its directory is left out."""
        paths = sorted(self._outs, key=lambda path: path.split("/"), reverse=True)
        outs = [self._outs[path] for path in paths if not is_inside(path, self._outs.keys())]
        for number, operation in enumerate(outs):
            operation.piece = number
        return (*self._sets, *outs)

    def _uncover(self, entry: Entry) -> None:
        """Let the project's own show at the path of something that was changed."""
        if entry.change == META and entry.kind == "dir":
            self._reset(entry)
            return
        self._check_shows(entry, entry.path, entry.origin or entry.path)
        self._take_out(entry, entry.path)

    def _show_again(self, entry: Entry, path: str) -> None:
        """Take away what hides a path of before."""
        parent = path.rpartition("/")[0]
        while parent:
            # What is in a directory that comes back comes back with it.
            if parent in self._deleted or self._renames.get(parent) in self._going:
                return
            parent = parent.rpartition("/")[0]
        now = after_renames(path.rpartition("/")[0], self._renames)
        name = path.rpartition("/")[2]
        where = f"{now}/{name}" if now else name
        status = self._upper.status(where)
        if status is None or not stat.S_ISCHR(status.st_mode) or status.st_rdev != 0:
            if status is not None:
                self._refuse(entry, "something else has its place now")
            self._refuse(entry, "all of its directory was replaced or removed")
        self._check_shows(entry, where, path)
        self._take_out(entry, where)

    def _check_shows(self, entry: Entry, path: str, before: str) -> None:
        """Refuse unless the project's `before` shows at `path` once the layer has nothing there."""
        parent = path.rpartition("/")[0]
        if self._changes.below(parent) != before.rpartition("/")[0]:
            self._refuse(entry, "its directory was replaced")
        if path.rpartition("/")[2] != before.rpartition("/")[2]:
            self._refuse(entry, "it has another name now")
        status = self._project.status(before)
        if status is None:
            self._refuse(entry, "the project has it no more")
        # The kernel takes what is in the project and a copy of it for one, when it shows both.
        other = self._origins.get(status.st_ino) or self._moved_from(before)
        if other is not None and other != path:
            self._refuse(entry, f"{quote(other)} was made from it")

    def _check_nothing_shows(self, entry: Entry) -> None:
        """Refuse where something of the project would come to light in the place of what is new."""
        folder, _, name = entry.path.rpartition("/")
        below = self._changes.below(folder)
        if below is None or below == folder:
            return
        if self._project.status(f"{below}/{name}" if below else name) is not None:
            self._refuse(entry, "its directory was moved, and hides another of that name")

    def _moved_from(self, before: str) -> str | None:
        """Return what was at a path of the project, or in it, and stays under another name."""
        for path, old in self._moved:
            stays = path not in self._going and not is_inside(path, self._going)
            if stays and (old == before or is_inside(old, {before})):
                return path
        return None

    def _check_rename(self, entry: Entry) -> None:
        for other in self._rest:
            inside = entry.origin + "/"
            if other.origin.startswith(inside) or (
                other.change == DELETE and other.path.startswith(inside)
            ):
                self._refuse(entry, f"{quote(other.path)} came out of it, and stays")

    def _reset(self, entry: Entry) -> None:
        path = "" if entry.path == "." else entry.path
        old_path = "" if entry.path == "." else entry.origin or entry.path
        fd, name = self._upper.place(path) if path else (self._upper.fd, "")
        old = metadata_at(fd, name)
        host_fd, host_name = self._project.place(old_path) if old_path else (self._project.fd, "")
        operation = Operation(SET, path)
        operation.there = self._upper.identity(path)
        operation.old = old
        operation.new = replace(metadata_at(host_fd, host_name), mtime_ns=old.mtime_ns)
        self._sets.append(operation)

    def _take_out(self, entry: Entry, path: str) -> None:
        status = self._upper.status(path)
        if status is None:
            self._refuse(entry, "the layer has it under another name")
        operation = Operation(OUT, path, moved=True)
        operation.there = identity_of(status)
        self._outs[path] = operation

    def _refuse(self, entry: Entry, reason: str) -> NoReturn:
        message = f"discarding {quote(entry.path)} alone: {reason}"
        raise RefusedError(message, _WHOLE)
