"""The changes of a world, open: what accept and discard need to know of layers.

`Changes` is that interface; here is the one for a single layer. Whoever stacks layers gives
entries with their items, and answers the same questions.
"""

from __future__ import annotations

import gc
import os
import stat

from substrate.filesystem.baseline import Baseline
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.diff import diff_merged
from substrate.filesystem.index import hidden_copies, index_path
from substrate.filesystem.items import Item, is_whiteout_device
from substrate.filesystem.marks import origin_inode
from substrate.filesystem.merged import Merged
from substrate.kernel.files import birth_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Protocol, Self

    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.entries import FsDiff

    class Changes(Protocol):
        """Changes of a world over a project, which is `diff`, and where each came from."""

        diff: FsDiff
        baseline: Baseline
        prefix: str

        def copied_ns(self, item: Item) -> int:
            """Return when an item was made from its `origin`.

            What the host did to that file before is in the change, or was seen by the world.
            """
            ...

        def origin(self, item: Item) -> int:
            """Return the inode of the project's file an item was made from, 0 when unknown."""
            ...

        def is_copy(self, item: Item) -> bool:
            """Whether the item was made from a file of the project."""
            ...

        def in_project(self, item: Item) -> bool:
            """Whether an item lies in the project itself and not in a layer."""
            ...

        def folder_mtime_ns(self, path: str) -> int:
            """Return the mtime of a directory as the world sees it, 0 when no layer has it."""
            ...

        def redirects(self) -> Iterator[tuple[str, str]]:
            """Yield (path, path in the project) for what is merged with another place."""
            ...

        def inside(self, path: str) -> Iterator[tuple[str, Item]]:
            """Yield what a layer has below a directory, directories before what is in them."""
            ...


class LayerChanges:
    """The changes of one layer, open while in its `with` statement."""

    def __init__(self, layer: str, project: str, prefix: str, baseline: Baseline) -> None:
        self._upper_path = os.path.join(layer, "upper")
        self._project = project
        self._trees: list[Tree] = []
        self.prefix = prefix
        self.baseline = baseline
        self.diff: FsDiff

    def __enter__(self) -> Self:
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._upper, self._lower = self._open(self._upper_path), self._open(self._project)
            merged = self._merged = Merged(self._upper, self._lower, self.prefix)
            index = index_path(self._upper_path, "")
            copies = hidden_copies(self._open(index), merged) if index else {}
            self.diff = diff_merged(merged, copies)
        except BaseException:
            self.close()
            raise
        finally:
            if collecting:
                gc.enable()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the trees."""
        for tree in self._trees:
            tree.close()

    def copied_ns(self, item: Item) -> int:
        """Return when the file was copied up; when the layer was made, where nobody knows."""
        return max(birth_ns(item.folder.fd(), item.name), self.baseline.created_ns)

    def origin(self, item: Item) -> int:
        """Return the inode in the overlay's handle of the original."""
        return origin_inode(item.folder, item.name, self.prefix) if self.is_copy(item) else 0

    def is_copy(self, item: Item) -> bool:
        """Whether the overlay copied it up."""
        if self.in_project(item) or not item.name:
            return False
        if item.marks is None:
            item.marks = self._merged.marks_of(item.folder, item.name)
        return item.marks.copied_up

    def in_project(self, item: Item) -> bool:
        """Whether the item is below the lower directory."""
        return item.folder.tree is self._lower

    def folder_mtime_ns(self, path: str) -> int:
        """Return the mtime of the upper directory at `path`."""
        if not path:
            return self._upper.root.status().st_mtime_ns
        found = self._upper.find(path)
        return 0 if found is None or is_whiteout_device(found[2]) else found[2].st_mtime_ns

    def redirects(self) -> Iterator[tuple[str, str]]:
        """Yield the upper entries with a redirect; a world without root has none."""
        merged = self._merged
        waiting: list[tuple[Folder, Folder | None]] = [(self._upper.root, self._lower.root)]
        while waiting and merged.follows:
            upper, below = waiting.pop()
            for name, status in upper.entries():
                if is_whiteout_device(status):
                    continue
                marks = merged.marks_of(upper, name)
                found = merged.below(below, name, marks)
                if marks.redirect and found is not None:
                    yield upper.path_of(name), found[0].path_of(found[1])
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((upper.child(name), merged.folder_below(below, name, marks)))

    def inside(self, path: str) -> Iterator[tuple[str, Item]]:
        """Yield what the upper directory has below `path`."""
        found = self._upper.find(path)
        waiting = [] if found is None else [found[0].child(found[1])]
        while waiting:
            folder = waiting.pop()
            for name, status in folder.entries():
                if is_whiteout_device(status):
                    continue
                item = Item(folder, name, status)
                yield folder.path_of(name), item
                if item.kind == "dir":
                    waiting.append(folder.child(name))

    def _open(self, path: str) -> Tree:
        tree = Tree(path)
        self._trees.append(tree)
        return tree
