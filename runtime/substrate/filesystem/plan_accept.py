"""From chosen entries to operations in an order that works, and what must be staged for them.

    1. directories that become writable
    2. out, in the paths of before: what is deleted and what is renamed, inner before outer
    3. in, swap and set, in the paths of now: outer before inner
    4. directories' modes, then their times, which the steps before have changed

Nothing is changed here: the project is only looked at.
"""

from __future__ import annotations

from substrate.filesystem.conflict import ROOT, host_path
from substrate.filesystem.copying import Metadata, metadata_at, metadata_of
from substrate.filesystem.entries import DELETE, META, MOD, RENAME, TOUCHED, WRITE
from substrate.filesystem.identity import Identity, identity_of
from substrate.filesystem.operations import IN, OUT, SET, SWAP, Operation
from substrate.filesystem.project import is_folder
from substrate.filesystem.renames import after_renames
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from substrate.filesystem.changes import LayerChanges
    from substrate.filesystem.conflict import ThreeWay
    from substrate.filesystem.entries import Entry
    from substrate.filesystem.items import Item
    from substrate.filesystem.owners import Owners
    from substrate.filesystem.project import Project

    FileKey = tuple[int, int]

_OWNER_ALL = 0o700


@record
class Stage:
    """A piece to be made: a copy of `item`, a link to another piece, or to the host's file."""

    piece: int
    item: Item | None = None
    metadata: Metadata | None = None
    link_piece: int = -1
    link_path: str = ""


@record
class FolderTime:
    """The mtime of a directory, which changes with everything that moves in or out of it."""

    path: str
    mtime_ns: int


@record
class AcceptPlan:
    """What to stage, the operations, and the directories' times after and before them.

    `clean_folders` are those nobody else had changed: (path before, path after).
    """

    stages: tuple[Stage, ...]
    operations: tuple[Operation, ...]
    times_after: tuple[FolderTime, ...]
    times_before: tuple[FolderTime, ...]
    clean_folders: tuple[tuple[str, str], ...]


def plan_accept(
    changes: LayerChanges,
    chosen: list[Entry],
    project: Project,
    owners: Owners,
    three_way: ThreeWay,
) -> AcceptPlan:
    """Return the plan that makes the project what the chosen entries say."""
    planning = _Planning(changes, chosen, project, owners, three_way)
    planning.plan()
    return planning.result()


class _Planning:
    def __init__(
        self,
        changes: LayerChanges,
        chosen: list[Entry],
        project: Project,
        owners: Owners,
        three_way: ThreeWay,
    ) -> None:
        self._changes = changes
        self._chosen = chosen
        self._project = project
        self._owners = owners
        self._three_way = three_way
        self._stages: list[Stage] = []
        self._first: list[Operation] = []
        self._outs: list[Operation] = []
        self._puts: list[tuple[list[str], int, Operation]] = []
        self._last: list[Operation] = []
        self._pieces = 0
        self._renames = {e.origin: e.path for e in chosen if e.change == RENAME}
        self._origins = {new: old for old, new in self._renames.items()}
        self._piece_of: dict[FileKey, int] = {}
        self._own_paths = {e.path for e in changes.diff.entries}
        self._metas = {e.path: e for e in chosen if e.change == META}
        self._with_times = {e.path for e in chosen if e.change in {MOD, META, TOUCHED}}
        self._meta_links = _meta_names(chosen, project)
        # Renames of a name whose file stays under another one.
        self._split = {e.path for e in chosen if e.change == RENAME and not self._moves(e)}
        self._kept_names = self._find_kept_names()

    def plan(self) -> None:
        """Turn every entry into operations."""
        add = {
            WRITE: self._write,
            MOD: self._modify,
            DELETE: self._delete,
            RENAME: self._rename,
            META: self._meta,
            TOUCHED: self._touch,
        }
        for entry in self._chosen:
            add[entry.change](entry)

    def result(self) -> AcceptPlan:
        """Return the operations in order, with the times of the directories they change."""
        self._outs.sort(key=lambda operation: operation.path.split("/"), reverse=True)
        self._puts.sort(key=lambda put: put[:2])
        operations = (*self._first, *self._outs, *(put[2] for put in self._puts), *self._last)
        old, new = self._touched_folders()
        before = [FolderTime(path, status.st_mtime_ns) for path, status in old.items()]
        clean = {path for path in old if self._three_way.is_clean_folder(path)}
        after: list[FolderTime] = []
        for path in sorted(new):
            mtime_ns = self._changes.folder_mtime_ns(path)
            if mtime_ns and (self._before(path) in clean or self._before(path) not in old):
                after.append(FolderTime(path, mtime_ns))
        return AcceptPlan(
            tuple(self._stages),
            operations,
            tuple(after),
            tuple(before),
            tuple((path, self._after(path)) for path in sorted(clean)),
        )

    def _write(self, entry: Entry) -> None:
        self._put(Operation(IN, entry.path, self._stage(entry)), 0)

    def _modify(self, entry: Entry) -> None:
        if entry.path in self._split:
            self._write(entry)
            return
        operation = Operation(SWAP, entry.path, self._stage(entry))
        operation.there = self._there(entry)
        self._put(operation, 1)

    def _delete(self, entry: Entry) -> None:
        operation = Operation(OUT, host_path(entry), self._next_piece())
        operation.there = self._there(entry)
        self._outs.append(operation)

    def _rename(self, entry: Entry) -> None:
        if entry.path in self._split:
            self._delete(entry)
            if entry.path not in self._with_times:
                self._write(entry)
            return
        piece = self._next_piece()
        out = Operation(OUT, entry.origin, piece, moved=True)
        back = Operation(IN, entry.path, piece, moved=True)
        out.there = back.staged = self._there(entry)
        self._outs.append(out)
        self._put(back, 0)
        item = entry.item
        if item is None:
            return
        if item.kind == "dir":
            self._times_inside(entry)
        elif entry.path not in self._with_times:
            self._set_mtime(entry.path, entry.origin, item)

    def _moves(self, entry: Entry) -> bool:
        """Whether a rename can move the host's file: not when another of its names stays.

        Found by content and not recorded by the kernel, what the world has is a file of its own.
        """
        item, status = entry.item, self._project.status(entry.origin)
        if item is None or status is None or item.kind == "dir" or status.st_nlink == 1:
            return True
        return _is_indexed(item)

    def _meta(self, entry: Entry) -> None:
        path = "" if entry.path == ROOT else entry.path
        there = self._there(entry)
        if entry.item is None or there is None:
            return
        if entry.path in self._split:
            self._write(entry)
            return
        new = self._owners.fit(metadata_of(entry.item))
        if there.is_folder:
            self._folder_meta(entry, path, there, new)
            return
        if not self._in_place(entry):
            self._modify(entry)
            return
        self._put(self._set(path, there, self._metadata(host_path(entry)), new), 2)

    def _folder_meta(self, entry: Entry, path: str, there: Identity, new: Metadata) -> None:
        old = self._metadata(host_path(entry))
        # Its time is set last of all, and taken back last of all.
        new = replace(new, mtime_ns=old.mtime_ns)
        if new.mode & ~old.mode & _OWNER_ALL:
            opened = replace(old, mode=old.mode | new.mode & _OWNER_ALL)
            self._first.append(self._set(host_path(entry), there, old, opened))
            old = opened
        self._last.append(self._set(path, there, old, new))

    def _touch(self, entry: Entry) -> None:
        if entry.path in self._split:
            self._write(entry)
        elif entry.item is not None and not self._three_way.reason(entry):
            self._set_mtime(entry.path, host_path(entry), entry.item)

    def _times_inside(self, entry: Entry) -> None:
        """Set the times of what a rename found by content takes along."""
        for path, item in self._changes.inside(entry.path):
            if path not in self._own_paths:
                self._set_mtime(path, entry.origin + path[len(entry.path) :], item)

    def _set_mtime(self, path: str, old_path: str, item: Item) -> None:
        status = self._project.status(old_path)
        if status is None or status.st_mtime_ns == item.status.st_mtime_ns:
            return
        if not _owns_time(status, item):
            return
        old = self._metadata(old_path)
        new = replace(old, mtime_ns=item.status.st_mtime_ns)
        operation = self._set(path, identity_of(status), old, new)
        if is_folder(status):
            self._last.append(operation)
        else:
            self._put(operation, 2)

    def _set(self, path: str, there: Identity, old: Metadata, new: Metadata) -> Operation:
        operation = Operation(SET, path)
        operation.there, operation.old, operation.new = there, old, new
        return operation

    def _in_place(self, entry: Entry) -> bool:
        """Whether metadata can be set on the host's file: on all its names, or it has just one.

        Renames are always in place: without an entry of their own the metadata stay.
        """
        if entry.change == RENAME:
            if entry.path in self._split:
                return False
            own = self._metas.get(entry.path)
            return own is None or self._in_place(own)
        status = self._project.status(host_path(entry))
        return status is not None and (
            status.st_nlink == 1 or self._meta_links.get(status.st_ino, 0) == status.st_nlink
        )

    def _find_kept_names(self) -> dict[FileKey, str]:
        """Return the host's path of files that stay what they are under one of their names."""
        picked = {id(entry) for entry in self._chosen}
        modified = {entry.path for entry in self._chosen if entry.change == MOD}
        kept: dict[FileKey, str] = {}
        for entry in self._changes.diff.entries:
            item = entry.item
            if item is None or not _has_names(item):
                continue
            stays = (entry.change == TOUCHED and self._gets_time(entry)) or (
                id(entry) in picked
                and entry.path not in modified
                and entry.change in {RENAME, META}
                and self._in_place(entry)
            )
            key = (item.status.st_dev, item.status.st_ino)
            if self._changes.in_project(item):
                # Seen through a directory that was moved: it is the host's file itself.
                kept.setdefault(key, item.folder.path_of(item.name))
            elif stays:
                kept.setdefault(key, host_path(entry))
        return kept

    def _gets_time(self, entry: Entry) -> bool:
        status = self._project.status(host_path(entry))
        return (
            status is not None
            and entry.item is not None
            and (
                status.st_mtime_ns == entry.item.status.st_mtime_ns
                or _owns_time(status, entry.item)
            )
        )

    def _stage(self, entry: Entry) -> int:
        item = entry.item
        piece = self._next_piece()
        if item is None:
            return piece
        key = (item.status.st_dev, item.status.st_ino)
        linked = _has_names(item)
        if linked and key in self._kept_names:
            self._stages.append(Stage(piece, link_path=self._kept_names[key], item=item,
                                      metadata=self._owners.fit(metadata_of(item))))  # fmt: skip
            return piece
        if linked and key in self._piece_of:
            self._stages.append(Stage(piece, link_piece=self._piece_of[key]))
            return piece
        if linked:
            self._piece_of[key] = piece
        metadata = self._owners.fit(metadata_of(item))
        if item.kind == "dir" and metadata.mode & _OWNER_ALL != _OWNER_ALL:
            opened = replace(metadata, mode=metadata.mode | _OWNER_ALL)
            operation = Operation(SET, entry.path)
            operation.old, operation.new = opened, metadata
            self._last.append(operation)
            metadata = opened
        self._stages.append(Stage(piece, item, metadata))
        return piece

    def _next_piece(self) -> int:
        self._pieces += 1
        return self._pieces

    def _put(self, operation: Operation, rank: int) -> None:
        self._puts.append((operation.path.split("/"), rank, operation))

    def _there(self, entry: Entry) -> Identity | None:
        return self._project.identity(host_path(entry))

    def _metadata(self, path: str) -> Metadata:
        if not path:
            return metadata_at(self._project.fd, "")
        fd, name = self._project.place(path)
        return metadata_at(fd, name)

    def _touched_folders(self) -> tuple[dict[str, os.stat_result], set[str]]:
        """Return the directories that change: those of before with their status, those of now."""
        old: dict[str, os.stat_result] = {}
        new: set[str] = set()
        for operation in self._outs:
            self._add_old(old, _parent(operation.path))
            new.add(self._after(_parent(operation.path)))
        for _, _, operation in self._puts:
            if operation.kind != SET:
                new.add(_parent(operation.path))
                self._add_old(old, self._before(_parent(operation.path)))
                if operation.kind == IN and not operation.moved:
                    new.add(operation.path)
        return old, new

    def _add_old(self, old: dict[str, os.stat_result], path: str) -> None:
        if path not in old:
            status = self._project.status(path)
            if status is not None and is_folder(status):
                old[path] = status

    def _after(self, path: str) -> str:
        """Return where a path of before is now."""
        return after_renames(path, self._renames)

    def _before(self, path: str) -> str:
        """Return where a path of now was before."""
        return after_renames(path, self._origins)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_indexed(item: Item) -> bool:
    return item.marks is not None and item.marks.indexed


def _has_names(item: Item) -> bool:
    """Whether a file may have several names; the index shows one copy under all of them."""
    return item.kind != "dir" and (item.status.st_nlink > 1 or _is_indexed(item))


def _owns_time(status: os.stat_result, item: Item) -> bool:
    """Whether a file's time can be set for what one name of it shows.

    Without an index only one name was touched in the world, and the time belongs to all of them.
    """
    return is_folder(status) or status.st_nlink == 1 or _is_indexed(item)


def _meta_names(chosen: list[Entry], project: Project) -> dict[int, int]:
    """Return how many names of each host file get the same metadata, by inode."""
    names: dict[int, list[FileKey]] = {}
    for entry in chosen:
        item = entry.item
        if entry.change == META and item is not None and item.kind != "dir":
            status = project.status(host_path(entry))
            if status is not None:
                key = (item.status.st_dev, item.status.st_ino)
                names.setdefault(status.st_ino, []).append(key)
    return {inode: len(keys) for inode, keys in names.items() if len(set(keys)) == 1}
