"""The layer that an overlay would have, told from a copy and its table: what the world changed.

A walk over the copy with one look at each name. What is as the table has it and where it was is not
in the layer. The rest is, in the form an overlay gives it: names that are gone as whiteouts, what
has moved with a redirect to where it was. A directory is known by its inode and birth, so its
moves are exact, and so are those of files, whatever was written to them since.
"""

from __future__ import annotations

import stat

from substrate.filesystem.compare import Unreadable, digest
from substrate.filesystem.copies.intents import is_within
from substrate.filesystem.copies.marks import NO_MARK, WHITEOUT, Mark
from substrate.filesystem.copies.owners import with_owner
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.items import Item
from substrate.kernel.files import birth_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from substrate.filesystem.copies.intents import Places
    from substrate.filesystem.copies.table import Row, Table
    from substrate.filesystem.descriptors import Folder, Tree


class Derived:
    """The entries of the layer by directory, their marks by path; `raw` are the copy's own.

    `in_place`: path before -> path in the copy, of files that are where they were, or in a
    directory that was moved. `unlinked`: path in the copy -> path before, of names that the host
    has removed of a file that the world changed. They are in no directory of the layer.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.entries: dict[str, dict[str, os.stat_result]] = {}
        self.marks: dict[str, Mark] = {}
        self.raw: dict[str, os.stat_result] = {}
        self.births: dict[str, int] = {}
        self.in_place: dict[str, str] = {}
        self.unlinked: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """Whether the world has changed nothing, as far as that shows without reading files."""
        return not self.entries

    def has_root(self) -> bool:
        """Whether the root itself is not as it was."""
        row = self.table.rows.get("")
        return row is None or not row.is_copy(self.raw[""])

    def mark_of(self, path: str) -> Mark:
        """Return what an overlay would have noted of the entry at a path."""
        return self.marks.get(path, NO_MARK)

    def shown(self, status: os.stat_result, row: Row | None) -> os.stat_result:
        """Return a status with the owner it means in the project."""
        if row is not None and row.found and row.owner == (status.st_uid, status.st_gid):
            return with_owner(status, *row.found_owner)
        return with_owner(status, *self.table.shift.back(status.st_uid, status.st_gid))


def derive(tree: Tree, table: Table, intents: Places, project: Tree | None = None) -> Derived:
    """Return the layer of a copy; the world may be running. Raises `OSError`.

    `intents` are places whose changes are not the world's. Without the project, names that the
    host has removed of changed files are in the layer.
    """
    walk = _Deriving(tree, table, intents)
    walk.run(project)
    return walk.derived


class _Deriving:
    def __init__(self, tree: Tree, table: Table, intents: Places) -> None:
        self.derived = Derived(table)
        self._foreign, self._unfinished = intents
        self._tree = tree
        self._rows = table.rows
        # Every directory of the copy: its own status, and what it was.
        self._folders: dict[str, tuple[os.stat_result, Row | None]] = {}
        # Inode -> new paths of a file that was somewhere else before.
        self._moved: dict[int, list[str]] = {}
        self._in_place = self.derived.in_place
        # Inode -> all paths before, of changed files with several names.
        self._several: dict[int, list[str]] = {}
        self._waiting: list[tuple[Folder, str]] = []

    def run(self, project: Tree | None) -> None:
        """Walk over everything."""
        root = self._tree.root
        self._folders[""] = root.status(), self._rows.get("")
        self.derived.raw[""] = self._folders[""][0]
        self._waiting.append((root, ""))
        while self._waiting:
            folder, origin = self._waiting.pop()
            try:
                self._visit(folder, origin)
            except OSError as error:
                if not is_gone(error):
                    raise
        for inode, paths in self._moved.items():
            self._redirect(inode, sorted(paths))
        if project is not None and self._several:
            self._leave_out_unlinked(project)
        for path in [path for path in self.derived.entries if path]:
            self._add_folders(path)

    def _visit(self, folder: Folder, origin: str) -> None:
        """Look at a directory that was at `origin`, or is taken for what was there."""
        there: set[str] = set()
        for name, status in folder.entries():
            there.add(name)
            before = f"{origin}/{name}" if origin else name
            row = self._rows.get(before)
            if stat.S_ISDIR(status.st_mode):
                self._folder(folder, name, status, before, row)
            elif row is not None and row.is_copy(status) and holds(folder, name, status, row):
                self._in_place[before] = folder.path_of(name)
            else:
                self._file(folder, name, status, before, row)
        for name in self.derived.table.children(origin):
            if name not in there:
                self._list(folder.path, name, WHITEOUT)

    def _folder(
        self, parent: Folder, name: str, status: os.stat_result, before: str, row: Row | None
    ) -> None:
        path, origin = parent.path_of(name), before
        if row is None or not row.is_folder or row.inode != status.st_ino:
            known = self._known(parent, name, status)
            if known:
                origin, row = known[0], self._rows[known[0]]
                self.derived.marks[path] = Mark("/" + origin, _inode(row))
            elif row is not None and not row.is_folder:
                row = None
        else:
            self.derived.marks[path] = Mark("", _inode(row))
        self._folders[path] = status, row
        is_same = row is not None and (row.is_copy(status) or path in self._unfinished)
        if origin != before or not is_same:
            self._add(path, status, row)
        self._waiting.append((parent.child(name), origin))

    def _file(
        self, folder: Folder, name: str, status: os.stat_result, before: str, row: Row | None
    ) -> None:
        path = folder.path_of(name)
        paths = self._known(folder, name, status)
        if len(paths) > 1:
            self._several[status.st_ino] = paths
        if before in paths:
            self._in_place[before] = path
        elif paths:
            row = self._rows[paths[0]]
            self._moved.setdefault(status.st_ino, []).append(path)
        else:
            row = None
        if row is not None:
            origin = _inode(row)
            # All of them, unless some were discarded alone and are files of their own since.
            together = len(paths) > 1 and len(paths) == self._names_of(origin, len(paths))
            self.derived.marks[path] = Mark("", origin, together and before in paths)
        self._add(path, status, row)

    def _names_of(self, origin: int, unknown: int) -> int:
        return self.derived.table.names_in_project(origin) if origin else unknown

    def _known(self, folder: Folder, name: str, status: os.stat_result) -> list[str]:
        """Return the paths a file or directory had when the copy was made."""
        path = folder.path_of(name)
        birth = birth_ns(folder.fd(), name)
        self.derived.births[path] = birth
        found = self.derived.table.paths_of(status.st_ino, birth)
        return [one for one in found if self._rows[one].is_folder == stat.S_ISDIR(status.st_mode)]

    def _redirect(self, inode: int, paths: list[str]) -> None:
        """Lead new names of a file to those of its names that are gone."""
        births = self.derived.births[paths[0]]
        before = self.derived.table.paths_of(inode, births)
        gone = [path for path in before if path not in self._in_place]
        for number, path in enumerate(paths):
            mark = self.derived.marks[path]
            # Where none is gone, it is one more name, and made from nothing.
            moved = number < len(gone)
            self.derived.marks[path] = Mark("/" + gone[number], mark.origin) if moved else NO_MARK

    def _leave_out_unlinked(self, project: Tree) -> None:
        """Take out of the layer what the host has removed and the world has under another name."""
        from substrate.filesystem.copies.unlinked import Names

        derived = self.derived
        names = Names(derived, self._tree, project, self._foreign)
        for inode, before in self._several.items():
            here = {name: self._in_place[name] for name in before if name in self._in_place}
            gone = names.removed(before, here, self._moved.get(inode, ()))
            for name in gone:
                path = here[name]
                derived.unlinked[path] = name
                self._take_off(path)
            left = here.keys() - set(gone)
            if gone and len(left) == 1:
                path = here[left.pop()]
                derived.marks[path] = Mark("", derived.mark_of(path).origin)

    def _take_off(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        listed = self.derived.entries.get(folder, {})
        listed.pop(name, None)
        if not listed:
            self.derived.entries.pop(folder, None)

    def _add(self, path: str, status: os.stat_result, row: Row | None) -> None:
        parent, _, name = path.rpartition("/")
        self.derived.raw[path] = status
        self._list(parent, name, self.derived.shown(status, row))

    def _list(self, folder: str, name: str, status: os.stat_result) -> None:
        if is_within(f"{folder}/{name}" if folder else name, self._foreign):
            return
        self.derived.entries.setdefault(folder, {})[name] = status

    def _add_folders(self, path: str) -> None:
        """Add a directory in which something is listed, and those it is in."""
        while path:
            parent, _, name = path.rpartition("/")
            if name in self.derived.entries.get(parent, {}):
                return
            status, row = self._folders[path]
            self._add(path, status, row)
            path = parent


def holds(folder: Folder, name: str, status: os.stat_result, row: Row) -> bool:
    """Whether a file holds what it did, where that has to be read."""
    return not row.digest or row.digest == digest_of(folder, name, status)


def digest_of(folder: Folder, name: str, status: os.stat_result) -> bytes:
    """Return the digest of what a file holds now, b"" when it is no regular one to be read."""
    try:
        return digest(Item(folder, name, status)) if stat.S_ISREG(status.st_mode) else b""
    except Unreadable:
        return b""


def _inode(row: Row) -> int:
    return row.found[0] if row.found else 0
