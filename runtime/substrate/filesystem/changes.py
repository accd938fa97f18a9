"""The changes of a world, open, and where each came from: what accept must know of layers.

The diff itself is `diff.Changes`, whatever the number of layers. Here are the questions about the
third side: from which file of the project something was made, when, and under which name.
"""

from __future__ import annotations

import os
import stat

from substrate.filesystem.inherited import HostView
from substrate.filesystem.items import Item
from substrate.filesystem.marks import origin_inode
from substrate.filesystem.shown import read_astray
from substrate.filesystem.since import copied_ns, read_since, was_made_again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from substrate.filesystem.baseline import Baseline
    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.diff import Changes
    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.merged import Hit, Part
    from substrate.filesystem.project import Project
    from substrate.filesystem.since import Since


class LayerChanges:
    """The changes of all layers of a world against its project, within `with`."""

    def __init__(self, changes: Changes, baseline: Baseline, data: str = "") -> None:
        """Take changes that are not open yet; `baseline` is that of the lowest layer.

        `data` is where the world keeps what it began with if it is a fork.
        """
        self._changes = changes
        self._data = data
        self.baseline = baseline
        self.diff: FsDiff
        self._since: dict[int, Since] = {}
        self._files: dict[int, tuple[Folder, str]] | None = None
        # Inode of what covers a path of the project -> of what is there.
        self._covers: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._changes.__enter__()
        self._merged = self._changes.merged
        self.diff = self._changes.diff
        self._host = HostView(self._merged, self._data)
        self._astray = frozenset(read_astray(self._data) if self._data else ())
        return self

    def __exit__(self, *_details: object) -> None:
        self._changes.__exit__()

    def has_folder(self, path: str) -> bool:
        """Whether the world has a directory at a path."""
        found = self._merged.find(0, path)
        return found is not None and found[0][0].is_folder

    @property
    def is_single(self) -> bool:
        """Whether there is one layer."""
        return self._merged.uppers == 1

    def began_ns(self, path: str) -> int:
        """Return when the first layer that has something at a path of the project was made.

        What the host did before that is what the world found.
        """
        for level in range(self._merged.uppers - 1, -1, -1):
            found = self._merged.find(level, path)
            if found is None or found[0][0].level != self._merged.bottom:
                return self._layer_began_ns(level)
        return self.baseline.created_ns

    def seen_ns(self, item: Item | None, path: str, status: os.stat_result) -> int:
        """Return when the world took over the host's file at a path, which is as `status` says.

        It copied this very one, or its layer began.
        """
        if item is not None and self.origin(item) == status.st_ino:
            return self.copied_ns(item)
        return self.began_ns(path)

    def copied_ns(self, item: Item) -> int:
        """Return when an item was made from its `origin`.

        What the host did to that file before is in the change, or was seen by the world; not so
        what is covered.
        """
        if self._merged.cover is not None and self._is_of_cover(item):
            return self.baseline.created_ns
        trees, tree = self._merged.trees, item.folder.tree
        # What is in no layer is in the index, which the lowest of them has.
        level = trees.index(tree) if tree in trees else self._merged.uppers - 1
        copied = copied_ns(self._since_of(level), item.folder, item.name, item.status.st_ino)
        return max(copied, self.baseline.created_ns)

    def origin(self, item: Item) -> int:
        """Return the inode of the project's file an item was made from, 0 when unknown."""
        if not self.is_copy(item):
            return 0
        tree, merged = item.folder.tree, self._merged
        if tree is not merged.trees[merged.uppers - 1]:
            # The original may be in a layer; inodes tell only on one file system.
            device = item.folder.status().st_dev
            if device != merged.trees[-1].root.status().st_dev:
                return 0
        return self._uncovered(origin_inode(item.folder, item.name, merged.prefix))

    def first_origin(self, item: Item) -> int:
        """Return the inode of the project's file that an item goes back to, 0 when unknown.

        Through all layers: what a span changes again is a copy of a copy.
        """
        inode = self.origin(item)
        if not inode or not self.may_come_from_layer(item):
            return inode
        files, passed = self._files_of_layers(), set[int]()
        while inode in files and inode not in passed:
            passed.add(inode)
            folder, name = files[inode]
            inode = origin_inode(folder, name, self._merged.prefix)
        # The copies that a squash was made of are no more.
        return 0 if self._has_squash() else inode

    def is_copy(self, item: Item) -> bool:
        """Whether an overlay made the item from a file of the project or of a lower layer."""
        if self.in_project(item) or not item.name:
            return False
        marks = item.marks
        if marks is None:
            marks = item.marks = self._merged.marks_of(item.folder, item.name)
        return marks.copied_up

    def may_come_from_layer(self, item: Item) -> bool:
        """Whether what an item was made from may be in a layer and not in the project."""
        return item.folder.tree is not self._merged.trees[self._merged.uppers - 1]

    def in_project(self, item: Item) -> bool:
        """Whether an item lies in the project itself and not in a layer."""
        return item.folder.tree is self._merged.trees[-1]

    def is_as_inherited(self, path: str, project: Project) -> bool:
        """Whether the host has at a path what a fork began with."""
        return self._host.is_as_inherited(path, project)

    def is_severed(self, path: str) -> bool:
        """Whether a path is in a directory that was moved, and the host has moved what it was.

        Or, in a fork, has what was in it where no layer can lead to.
        """
        severed = self._merged.severed | self._astray
        while path and severed:
            if path in severed:
                return True
            path = path.rpartition("/")[0]
        return False

    def place_before(self, path: str) -> str:
        """Return where the overlay itself says that something was; its path when nowhere else."""
        found = self._merged.find(0, path)
        return path if found is None else found[1]

    def below(self, path: str) -> str | None:
        """Return which directory of the project shows through at a directory, None for none."""
        if not path:
            return ""
        found = self._merged.find(0, path)
        if found is None or found[0][-1].level != self._merged.bottom:
            return None
        return found[1]

    def folder_mtime_ns(self, path: str) -> int:
        """Return the mtime of a directory as the world sees it, 0 when no layer has it."""
        if not path:
            return self._merged.trees[0].root.status().st_mtime_ns
        found = self._merged.find(0, path)
        if found is None or found[0][0].level >= self._merged.uppers:
            return 0
        return found[0][0].status.st_mtime_ns

    def inside(self, path: str) -> Iterator[tuple[str, Item]]:
        """Yield what the layers have below a directory, directories before what is in them."""
        found = self._merged.find(0, path)
        waiting = [] if found is None else [(path, self._upper_parts(found[0]))]
        while waiting:
            folder, parts = waiting.pop()
            for position, name, status, hidden in self._merged.listing(parts):
                if hidden:
                    continue
                item = Item(parts[position].folder, name, status)
                inner = f"{folder}/{name}"
                yield inner, item
                if item.kind == "dir":
                    hits, _ = self._merged.lookup(parts, name, "")
                    waiting.append((inner, self._upper_parts(hits)))

    def keep_apart(self, path: str) -> None:
        """Have a new directory stay as it is once the project has one of the same name.

        A mounted overlay takes it for its own alone: it would not note what goes from it.
        """
        found = self._merged.find(0, path)
        hits = [] if found is None else self._upper_hits(found[0])
        if hits:
            where = hits[-1].folder.proc_path(hits[-1].name)
            os.setxattr(where, self._merged.prefix + "opaque", b"y", follow_symlinks=False)

    def redirects(self) -> Iterator[tuple[str, str]]:
        """Yield (path, path in the project) of what one layer has under another name than that."""
        waiting = [("", self._merged.roots)]
        while waiting and self._merged.follows:
            folder, parts = waiting.pop()
            uppers = [part for part in parts if part.level < self._merged.uppers]
            for _, name, _, hidden in self._merged.listing(uppers):
                if hidden:
                    continue
                path = f"{folder}/{name}" if folder else name
                found = self._merged.find(0, path)
                if found is None:
                    continue
                hits, before = found
                marks = [hit.marks for hit in self._upper_hits(hits) if hit.marks is not None]
                moved = any(one.redirect for one in marks)
                if moved and hits[-1].level == self._merged.bottom:
                    yield path, before
                if hits[0].is_folder:
                    waiting.append((path, self._merged.parts_of(hits)))

    def _is_of_cover(self, item: Item) -> bool:
        return origin_inode(item.folder, item.name, self._merged.prefix) in self._covers

    def _uncovered(self, inode: int) -> int:
        """Return the inode of the project's directory for that of the one that covers it."""
        cover, project = self._merged.cover, self._merged.trees[-1]
        if cover is None:
            return inode
        if not self._covers:
            waiting = [cover.root]
            while waiting:
                folder = waiting.pop()
                for name, status in folder.entries():
                    found = project.find(folder.path_of(name))
                    self._covers[status.st_ino] = 0 if found is None else found[2].st_ino
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(folder.child(name))
        return self._covers.get(inode, inode)

    def _upper_parts(self, hits: list[Hit]) -> list[Part]:
        return self._merged.parts_of(self._upper_hits(hits))

    def _upper_hits(self, hits: list[Hit]) -> list[Hit]:
        return [hit for hit in hits if hit.level < self._merged.uppers]

    def _files_of_layers(self) -> dict[int, tuple[Folder, str]]:
        """Return where the layers have each inode; looked for when somebody asks."""
        if self._files is None:
            self._files = {}
            for tree in self._merged.trees[: self._merged.uppers]:
                waiting = [tree.root]
                while waiting:
                    folder = waiting.pop()
                    for name, status in folder.entries():
                        self._files.setdefault(status.st_ino, (folder, name))
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(folder.child(name))
        return self._files

    def _has_squash(self) -> bool:
        uppers = self._merged.trees[: self._merged.uppers]
        return any(was_made_again(tree.root.fd()) for tree in uppers)

    def _layer_began_ns(self, level: int) -> int:
        """Return when a layer was made; the lowest with the world, whose baseline it has."""
        created = self.baseline.created_ns
        if level == self._merged.uppers - 1:
            return created
        return max(self._since_of(level).began_ns, created)

    def _since_of(self, level: int) -> Since:
        if level not in self._since:
            self._since[level] = read_since(self._merged.trees[level].root.fd())
        return self._since[level]
