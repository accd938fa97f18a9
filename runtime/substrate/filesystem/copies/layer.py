"""A copy seen as the layer it would have been, for all that reads layers of an overlay."""

from __future__ import annotations

import errno
import os
import stat

from substrate.filesystem.copies.derived import Derived, derive
from substrate.filesystem.copies.intents import read_intents
from substrate.filesystem.copies.marks import PREFIX, WHITEOUT
from substrate.filesystem.copies.table import TABLE, read_table
from substrate.filesystem.descriptors import Folder, Tree
from substrate.filesystem.diff import Changes
from substrate.filesystem.layers import COPY
from substrate.filesystem.marks import Marks
from substrate.filesystem.merged import Merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.copies.marks import Mark
    from substrate.filesystem.items import Item
    from substrate.filesystem.merged import Part


class CopiedFolder(Folder):
    """A directory of a copy, in which only what is in the layer shows."""

    __slots__ = ()

    def child(self, name: str) -> CopiedFolder:
        """Return the folder called `name` in this one."""
        return CopiedFolder(self.tree, self, name)

    def entries(self) -> list[tuple[str, os.stat_result]]:
        """Return every entry of the layer with its status."""
        return list(self._entries().items())

    def scan(self) -> list[tuple[str, os.stat_result | None]]:
        """Return every entry of the layer with its status, None for a directory."""
        return [
            (name, None if stat.S_ISDIR(status.st_mode) else status)
            for name, status in self._entries().items()
        ]

    def enter(self, name: str) -> tuple[Folder, os.stat_result] | None:
        """Return the directory of that name, opened, with its status; as any folder does."""
        status = self._entries().get(name)
        if status is None:
            return None
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        entered = super().enter(name)
        return None if entered is None else (entered[0], status)

    def names(self) -> list[str]:
        """Return the names of all entries of the layer."""
        return list(self._entries())

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of one entry of the layer, None when it is not in it."""
        return self._entries().get(name)

    def status(self) -> os.stat_result:
        """Return the status of the folder itself."""
        derived = self._derived()
        return derived.shown(super().status(), derived.table.rows.get(""))

    def _entries(self) -> dict[str, os.stat_result]:
        return self._derived().entries.get(self.path, {})

    def _derived(self) -> Derived:
        assert isinstance(self.tree, CopiedTree)  # noqa: S101 -- made by it alone
        return self.tree.derived


class CopiedTree(Tree):
    """A copy whose layer is known."""

    __slots__ = ("derived",)

    def __init__(self, path: str, derived: Derived) -> None:
        super().__init__(path)
        self.derived = derived
        self.root = CopiedFolder(self, None, "")


class CopiedMarks(Marks):
    """What an overlay would have noted about one entry; nothing is read."""

    __slots__ = ("_mark",)
    listed = False

    def __init__(self, mark: Mark) -> None:
        self.names = []
        self.others = True  # perhaps: its own attributes have to be looked at
        self.opaque = ""
        self.redirect = mark.redirect
        self.metacopy = False
        self._mark = mark

    @property
    def impure(self) -> bool:
        """Whether a directory may hold entries that came from the project."""
        return True

    @property
    def indexed(self) -> bool:
        """Whether all names of the file changed together."""
        return self._mark.together

    @property
    def whiteout(self) -> bool:
        """Whether the entry stands for "not here"; `WHITEOUT` does, and no file."""
        return False

    @property
    def copied_up(self) -> bool:
        """Whether this was made from something of the project."""
        return bool(self._mark.origin)


class CopiedMerged(Merged):
    """A copy's layer over the project."""

    def __init__(self, tree: CopiedTree, project: Tree) -> None:
        self._derived = tree.derived
        super().__init__([tree, project], 1, PREFIX)

    def marks_of(self, folder: Folder, name: str) -> Marks:
        """Return the marks of an entry of the layer."""
        return CopiedMarks(self._derived.mark_of(folder.path_of(name)))

    def marks_of_folder(self, folder: Folder) -> Marks:
        """Return the marks of a folder of the layer itself."""
        return CopiedMarks(self._derived.mark_of(folder.path))

    def is_whiteout(self, part: Part, name: str, status: os.stat_result) -> bool:
        """Whether an entry says that there is nothing of that name."""
        if part.level != self.bottom:
            return status is WHITEOUT
        return super().is_whiteout(part, name, status)


class CopiedChanges(Changes):
    """Within `with`: what the world changed in a copy, against the project as it is now."""

    def __init__(self, directory: str, project: str) -> None:
        """Take the layer's directory, which has the copy and its table."""
        super().__init__([os.path.join(directory, COPY)], [project], PREFIX)
        self._directory = directory
        self.derived: Derived

    def _open(self) -> dict[int, Item]:
        (copy,), (project,) = self._uppers, self._lowers
        below = Tree(project)
        self._trees.append(below)
        with Tree(copy) as plain:
            table = read_table(os.path.join(self._directory, TABLE))
            self.derived = derive(plain, table, read_intents(self._directory), below)
        tree = CopiedTree(copy, self.derived)
        self._trees.append(tree)
        self.merged = CopiedMerged(tree, below)
        return {}
