"""What an overlay shows for a name: the rules by which the upper directory covers the lower.

Kernel: fs/overlayfs/namei.c (ovl_lookup), for one upper and one lower layer. The attributes come
from the kernel, yet a payload that could forge them must not lead the walk anywhere: a redirect
is followed name by name inside the lower tree, and `..` is not there.
"""

from __future__ import annotations

import stat

from substrate.filesystem.items import is_whiteout_device
from substrate.filesystem.marks import Marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from substrate.filesystem.descriptors import Folder, Tree


class Merged:
    """An upper and a lower tree seen as the one tree the world sees."""

    def __init__(self, upper: Tree, lower: Tree, prefix: str) -> None:
        self.upper = upper
        self.lower = lower
        self.prefix = prefix
        # `userxattr` mounts follow no redirect and have no metacopy (ovl_parse_param).
        self.follows = prefix.startswith("trusted.")

    def marks_of(self, folder: Folder, name: str) -> Marks:
        """Return the marks of an entry of the upper directory."""
        return Marks(folder.proc_path(name), self.prefix, follow=self.follows)

    def marks_of_folder(self, folder: Folder) -> Marks:
        """Return the marks of a folder of the upper directory itself."""
        return Marks(folder.fd(), self.prefix, follow=self.follows)

    def is_whiteout(
        self, folder: Folder, name: str, status: os.stat_result, parent: Marks | None
    ) -> bool:
        """Whether the entry of the upper directory says that there is nothing of that name.

        `parent` are the marks of its directory: opaque `x` announces whiteouts that are empty
        files with an attribute, which is how an overlay inside an overlay writes them.
        """
        if stat.S_ISCHR(status.st_mode):
            return status.st_rdev == 0
        return (
            parent is not None
            and parent.opaque == "x"
            and stat.S_ISREG(status.st_mode)
            and status.st_size == 0
            and self.marks_of(folder, name).whiteout
        )

    def lower_status(self, folder: Folder | None, name: str) -> os.stat_result | None:
        """Return the status of a name in a folder below; a whiteout there hides it."""
        if folder is None:
            return None
        status = folder.stat(name)
        return None if status is None or is_whiteout_device(status) else status

    def below(
        self, parent: Folder | None, name: str, marks: Marks
    ) -> tuple[Folder, str, os.stat_result] | None:
        """Return the lower entry that lies under an upper entry: its own name or its redirect.

        `parent` is the lower directory merged with the upper entry's directory, if any.
        """
        if marks.opaque == "y":
            return None
        redirect = marks.redirect
        if redirect.startswith("/"):
            found = self.lower.find(redirect[1:])
            return None if found is None or is_whiteout_device(found[2]) else found
        if redirect:
            if "/" in redirect or redirect in {".", ".."}:
                return None
            name = redirect
        status = self.lower_status(parent, name)
        return None if status is None or parent is None else (parent, name, status)

    def folder_below(self, parent: Folder | None, name: str, marks: Marks) -> Folder | None:
        """Return the lower directory merged with an upper directory, None when there is none."""
        found = self.below(parent, name, marks)
        if found is None or not stat.S_ISDIR(found[2].st_mode):
            return None
        return found[0].child(found[1])

    def shows(self, path: str) -> bool:
        """Whether the merged tree has anything at `path`."""
        upper: Folder | None = self.upper.root
        below: Folder | None = self.lower.root
        names = path.split("/")
        for depth, name in enumerate(names):
            last = depth == len(names) - 1
            status = None if upper is None else upper.stat(name)
            if upper is not None and status is not None:
                if self.is_whiteout(upper, name, status, self.marks_of_folder(upper)):
                    return False
                if last or not stat.S_ISDIR(status.st_mode):
                    return last
                below = self.folder_below(below, name, self.marks_of(upper, name))
                upper = upper.child(name)
                continue
            status = self.lower_status(below, name)
            if below is None or status is None:
                return False
            if last or not stat.S_ISDIR(status.st_mode):
                return last
            upper, below = None, below.child(name)
        return True
