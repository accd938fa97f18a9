"""Directories of a copy: what goes from it is put aside, what came into it is read back."""

from __future__ import annotations

import os
import stat

from substrate.filesystem.copies.table import Row, seen
from substrate.filesystem.copying import set_mode
from substrate.filesystem.removal import remove_layers
from substrate.kernel.files import birth_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Folder, Tree

    # What `seen` tells of a file of the project, () when that is not known.
    Read = tuple[int, ...]
    # Path in the copy -> that.
    Found = dict[str, Read]

_ASIDE = "aside"


class Aside:
    """A directory beside the copy, for what is to be removed: by one rename, whatever is in it."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _ASIDE)
        remove_layers(self._path)
        os.mkdir(self._path, 0o700)
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._count = 0

    def put(self, folder: Folder, name: str) -> None:
        """Take a name out of a directory of the copy."""
        status = folder.stat(name)
        if status is None:
            return
        self._count += 1
        if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
            # Its own `..` changes.
            set_mode(folder.fd(), name, 0o700)
        os.rename(name, str(self._count), src_dir_fd=folder.fd(), dst_dir_fd=self._fd)

    def remove(self) -> None:
        """Remove all of it: before the copy is read back, since that shows in other names' inodes.

        Twice is once.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            remove_layers(self._path)


def read_back(
    tree: Tree, found: Found, path: str, origin: str, *, inside: bool = True
) -> dict[str, Row]:
    """Return the rows of the copy at `path`, and below, by where they are in the project.

    `found` is what its files were made from, by path in the copy; what is not there has no row.
    """
    rows: dict[str, Row] = {}
    folder, name, status = tree.root, "", tree.root.status()
    if path:
        place = tree.find(path)
        if place is None:
            return rows
        folder, name, status = place
    if path in found:
        rows[origin] = _row(folder, name, status, found[path])
    waiting: list[Folder] = []
    if inside and stat.S_ISDIR(status.st_mode):
        waiting.append(folder.child(name) if name else folder)
    while waiting:
        folder = waiting.pop()
        for name, status in folder.entries():
            here = folder.path_of(name)
            if here in found:
                rows[origin + here[len(path) :]] = _row(folder, name, status, found[here])
            if stat.S_ISDIR(status.st_mode):
                waiting.append(folder.child(name))
    return rows


def _row(folder: Folder, name: str, status: os.stat_result, found: Read) -> Row:
    return Row(seen(status), birth_ns(folder.fd(), name or "."), found)
