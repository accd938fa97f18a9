"""One file as the walk meets it: where it is, its status, and where its content is.

Comparisons of two of them are in `compare.py`; what is reported about them in `entries.py`.
"""

from __future__ import annotations

import os
import stat

from substrate.filesystem.marks import visible_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.marks import Marks
    from substrate.filesystem.merged import Hit, Merged, Part

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
    path in the merged tree where the folder, which is one layer's, may have another. `inner` is
    a directory itself where it has been opened already.
    """

    __slots__ = (
        "_data",
        "_data_missing",
        "_marks",
        "_unread",
        "at",
        "folder",
        "inner",
        "kind",
        "name",
        "status",
    )

    def __init__(
        self,
        folder: Folder,
        name: str,
        status: os.stat_result,
        marks: Marks | None = None,
        at: str | None = None,
        unread: tuple[Merged, list[Part]] | None = None,
    ) -> None:
        """Take what is known; `unread` is how to find the rest when somebody asks for it.

        That is the marks and the place of the content, and `unread` the parts of the directory
        from the one that has the item down. Most changed files differ from what was before at
        first sight.
        """
        self.at = at
        self.folder = folder
        self.name = name
        self.status = status
        self.kind = _KINDS.get(status.st_mode & 0o170000, "unknown")
        self.inner: Folder | None = None
        self._marks = marks
        self._data: Item | None = None
        self._data_missing = False
        self._unread = unread

    @property
    def marks(self) -> Marks | None:
        """What the overlay noted about it; None where it does not note anything."""
        if self._unread is not None:
            self._read()
        return self._marks

    @marks.setter
    def marks(self, marks: Marks) -> None:
        self._marks = marks

    @property
    def data(self) -> Item | None:
        """Where the content is when it is not here."""
        if self._unread is not None:
            self._read()
        return self._data

    @data.setter
    def data(self, data: Item) -> None:
        self._data = data

    @property
    def data_missing(self) -> bool:
        """Whether the content is nowhere."""
        if self._unread is not None:
            self._read()
        return self._data_missing

    def lies_over(self, hits: list[Hit]) -> None:
        """Take over what was found by looking the item up: itself and what is below it."""
        self._unread = None
        top = hits[0]
        self._marks, self.inner = top.marks, top.inner
        if top.is_metacopy:
            content = next((hit for hit in hits[1:] if not hit.is_metacopy), None)
            if content is None or not stat.S_ISREG(content.status.st_mode):
                self._data_missing = True
            else:
                self._data = Item(content.folder, content.name, content.status)

    def _read(self) -> None:
        assert self._unread is not None  # noqa: S101 -- the callers have looked
        (merged, parts), self._unread = self._unread, None
        if self.kind != "dir":
            self._marks = merged.marks_of_file(parts[0], self.name)
            if self._marks is None or not self._marks.metacopy:
                return
        self.lies_over(merged.lookup(parts, self.name, "", self.status)[0])

    @property
    def path(self) -> str:
        """Its path in the tree it was found in."""
        return self.folder.path_of(self.name) if self.at is None else self.at

    @property
    def content(self) -> Item:
        """Where the content is."""
        return self if self.data is None else self.data

    def attributes(self, prefix: str) -> dict[str, bytes]:
        """Return the extended attributes a process in the world sees on it."""
        if self.inner is not None and self.inner.is_known:
            where: str | int = self.inner.fd()
        elif self.name:
            where = self.folder.proc_path(self.name)
        else:
            where = self.folder.fd()
        marks = self._marks
        known = marks.names if marks is not None and marks.listed else None
        return visible_attributes(where, prefix, known)

    def link_target(self) -> str:
        """Return where a symbolic link points; empty when it has been exchanged meanwhile."""
        try:
            return os.readlink(self.name, dir_fd=self.folder.fd())
        except OSError:
            return ""


def is_whiteout_device(status: os.stat_result) -> bool:
    """Whether this is the character device 0:0, by which an overlay says "not here"."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
