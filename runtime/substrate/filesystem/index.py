"""The index of an overlay: copies of lower files that have several names.

With `index=on` such a file is copied up once, and the copy is found under all its names, also
those that nobody opened and those that are left after the one that was opened is removed. The
upper directory has nothing for them; the index, beside it in the work directory, has the copy
under the file handle of the original (kernel: fs/overlayfs/namei.c, ovl_lookup_index).
"""

from __future__ import annotations

import os

from substrate.errors import UnsupportedError
from substrate.filesystem.items import Item, is_whiteout_device
from substrate.filesystem.marks import attribute, inode_of_handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Tree
    from substrate.filesystem.merged import Merged


def index_path(upper: str, work: str) -> str:
    """Return where the index of a layer is, empty when it has none."""
    path = os.path.join(work or os.path.join(os.path.dirname(upper.rstrip("/")), "work"), "index")
    return path if os.path.isdir(path) else ""


def hidden_copies(index: Tree, merged: Merged) -> dict[int, Item]:
    """Return the copies that may show under names the upper directory does not have.

    The key is the inode number of the lower file. Raises `UnsupportedError` when the lower file
    system writes file handles in a layout that is not known.
    """
    copies: dict[int, Item] = {}
    for name, status in index.root.entries():
        if name.startswith("#") or is_whiteout_device(status):
            continue
        item = Item(index.root, name, status, merged.marks_of(index.root, name))
        # "U-1": of all names of the file, none but those in the upper directory are left.
        if item.kind == "dir" or attribute(index.root, name, merged.prefix + "nlink") == b"U-1":
            continue
        inode = inode_of_handle(_handle(name))
        if not inode:
            message = f"reading {index.path}/{name}: the file handle's layout is not known"
            raise UnsupportedError(message, "mount the layer without index=on")
        copies[inode] = item
    return copies


def _handle(name: str) -> bytes:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
