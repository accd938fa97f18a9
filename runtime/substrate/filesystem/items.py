"""One file as the walk meets it: where it is, its status, and where its content is.

Comparisons of two of them are in `compare.py`; what is reported about them in `entries.py`.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.marks import Marks

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "chardev",
    stat.S_IFBLK: "blockdev",
}


class Item:
    """A name in a folder with its status; a plain class because one is made per changed file.

    `data` is the lower file that holds the content of a metacopy file; `data_missing` says that
    there should be one and it cannot be found. `kind` is the word for the file's type; `at` its
    path in the merged tree where the folder, which is one layer's, may have another.
    """

    __slots__ = ("at", "data", "data_missing", "folder", "kind", "marks", "name", "status")

    def __init__(
        self,
        folder: Folder,
        name: str,
        status: os.stat_result,
        marks: Marks | None = None,
        at: str | None = None,
    ) -> None:
        self.at = at
        self.folder = folder
        self.name = name
        self.status = status
        self.kind = _KINDS.get(status.st_mode & 0o170000, "unknown")
        self.marks = marks
        self.data: Item | None = None
        self.data_missing = False

    @property
    def path(self) -> str:
        """Its path in the tree it was found in."""
        return self.folder.path_of(self.name) if self.at is None else self.at

    @property
    def content(self) -> Item:
        """Where the content is."""
        return self if self.data is None else self.data

    def link_target(self) -> str:
        """Return where a symbolic link points; empty when it has been exchanged meanwhile."""
        try:
            return os.readlink(self.name, dir_fd=self.folder.fd())
        except OSError:
            return ""


def is_whiteout_device(status: os.stat_result) -> bool:
    """Whether this is the character device 0:0, by which an overlay says "not here"."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
