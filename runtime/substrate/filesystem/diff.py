"""What a layer changed: the exact difference between the project and what a world made of it.

The work is done by `walk.py` (the directories), `merged.py` (the overlay's rules), `compare.py`
(two files), `pairs.py` (renames the kernel did not record) and `risky.py`; here is their order.
"""

from __future__ import annotations

import gc

from substrate.errors import SubstrateError
from substrate.filesystem.cover import denies
from substrate.filesystem.descriptors import Tree, is_gone
from substrate.filesystem.entries import DELETE, RENAME, TOUCHED, WRITE, Entry, FsDiff, make_diff
from substrate.filesystem.index import hidden_copies, index_path
from substrate.filesystem.merged import Merged
from substrate.filesystem.pairs import Pairs
from substrate.filesystem.risky import CAPABILITIES, DENIED, risky_reasons
from substrate.filesystem.walk import LINKED, Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from substrate.filesystem.items import Item

# Times that a diff begins when a running world takes away what it has found.
_TRIES = 4


def diff_layer(upper: str, lower: str, xattr_prefix: str, work: str = "") -> FsDiff:
    """Return every difference between `lower` and the overlay of `upper` over it.

    `work` is the overlay's work directory, by default `work` beside `upper`; the rest is as for
    `diff_layers`.
    """
    return diff_layers([upper], [lower], xattr_prefix, index_path(upper, work))


def diff_layers(uppers: list[str], lowers: list[str], xattr_prefix: str, index: str = "") -> FsDiff:
    """Return every difference between the tree of `lowers` and that of `uppers` over them.

    Both lists have the topmost first; the last of `lowers` is the project, all others are upper
    directories of layers. `xattr_prefix` is `trusted.overlay.` or, for layers mounted with
    `userxattr`, `user.overlay.`; `index` the index of a single layer that was mounted with one.
    The layers may be in use: what vanishes while it is read is left out, and nothing a payload
    can put there is followed or waited for. Raises `SubstrateError` when a directory may not be
    read, `UnsupportedError` when a mount covers part of the project.
    """
    with Changes(uppers, lowers, xattr_prefix, index) as changes:
        return changes.diff


class Changes:
    """Within `with`: the diff of `diff_layers`, and the trees open in which its files are read.

    `originals`: the inode of a file of the project -> that of the file whose place it has taken.
    """

    def __init__(
        self,
        uppers: list[str],
        lowers: list[str],
        xattr_prefix: str,
        index: str = "",
        originals: Mapping[int, int] | None = None,
        *,
        covered: bool = False,
    ) -> None:
        """Prepare; `covered`: what lies over the project is no layer but a cover (`cover.py`)."""
        self._covered = covered
        self._uppers = uppers
        self._lowers = lowers
        self._index = index
        self._originals = originals or {}
        self._prefix = xattr_prefix
        self._trees: list[Tree] = []

    def __enter__(self) -> Changes:
        # Hundreds of thousands of small objects, none of them garbage: the collector would look
        # at all of them again and again, for a third of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            copies = self._open()
            self.diff = _diff_in_motion(self.merged, copies)
        except PermissionError as error:
            self.__exit__()
            message = f"reading the layer: {error.filename or self._uppers[0]}: permission denied"
            hint = "read it as the user the world maps to root, or as root"
            raise SubstrateError(message, hint) from error
        except BaseException:
            self.__exit__()
            raise
        finally:
            if collecting:
                _let_grow_old()
                gc.enable()
        return self

    def __exit__(self, *_details: object) -> None:
        for tree in self._trees:
            tree.close()

    def _open(self) -> dict[int, Item]:
        """Open the trees and merge them; return the hidden copies of `index.py`."""
        for path in (*self._uppers, *self._lowers):
            self._trees.append(Tree(path))
        self.merged = Merged(
            list(self._trees), len(self._uppers), self._prefix,
            indexed=bool(self._index), originals=self._originals,
        )  # fmt: skip
        if self._covered:
            self.merged.cover = self._trees[-2]
        if not self._index:
            return {}
        self._trees.append(Tree(self._index))
        copies = hidden_copies(self._trees[-1], self.merged)
        replaced = self._originals.items()
        return copies | {now: copies[was] for now, was in replaced if was in copies}


def _let_grow_old() -> None:
    """Have the objects that there are count as old, so that none of them is looked at right away.

    The collector would begin with its next one, for as long as a tenth of the diff.
    """
    # Whoever has frozen some means them to stay so.
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


def _diff_in_motion(merged: Merged, copies: dict[int, Item]) -> FsDiff:
    """Return what `diff_merged` does, again if a running world exchanges what is compared."""
    for _ in range(_TRIES - 1):
        try:
            return diff_merged(merged, copies)
        except OSError as error:
            # The walk leaves out what vanishes; this had been found and was being paired.
            if not is_gone(error):
                raise
    return diff_merged(merged, copies)


def diff_merged(merged: Merged, copies: dict[int, Item]) -> FsDiff:
    """Return the differences of open trees; `copies` are the hidden ones of `index.py`.

    Every entry can be read, through its `item`, while the trees are open.
    """
    walk = Walk(merged, copies)
    walk.run()
    while moved := walk.disputed:
        walk = Walk(merged, copies, moved)
        walk.run()
    deleted = _deleted(walk)
    new = {
        entry.path: entry.item
        for entry in walk.found
        if entry.change == WRITE and entry.item is not None
    }
    pairs = Pairs(deleted, new, merged.prefix, merged.originals)
    pairs.find()
    for path, (after, before) in pairs.moved.items():
        walk.compare_moved(path, after, before)
    entries = _entries(walk, pairs)
    if merged.cover is not None:
        _mark_denied(entries, merged.cover)
    return make_diff(entries)


def _mark_denied(entries: list[Entry], cover: Tree) -> None:
    """Mark what was denied to the world, and could be read under another name later."""
    for entry in entries:
        if denies(cover, entry.origin or entry.path, moved=entry.change == RENAME):
            entry.risky += (DENIED,)


def _deleted(walk: Walk) -> dict[str, Item]:
    """Return what is gone, with all that was in it, except what has been moved away."""
    deleted: dict[str, Item] = {}
    waiting = [item for folder, name in walk.gone if (item := folder.item(name)) is not None]
    while waiting:
        item = waiting.pop()
        path = item.path
        if path in walk.renames or path in deleted:
            continue
        deleted[path] = item
        if item.kind != "dir":
            continue
        try:
            inside = walk.merged.lower_directory(path)
            if inside is not None:
                waiting += inside.items()
        except OSError as error:
            if not is_gone(error):
                raise
    return deleted


def _entries(walk: Walk, pairs: Pairs) -> list[Entry]:
    several = _names_per_inode(walk.found)
    prefix = walk.merged.prefix
    entries: list[Entry] = []
    for entry in walk.found:
        if entry.change == WRITE and entry.path not in pairs.new:
            continue
        _complete(entry, prefix)
        item = entry.item
        if several and item is not None and item.status.st_ino in several:
            entry.notes += (LINKED,)
        entries.append(entry)
    for path, item in pairs.deleted.items():
        entry = Entry(DELETE, path, item.kind, item.status)
        entry.before = item
        if item.kind == "symlink":
            entry.target = item.link_target()
        entries.append(entry)
    items = walk.items_of_renames | pairs.items_of_renames
    for old, new in (walk.renames | pairs.renames).items():
        item = items[new]
        entry = Entry(RENAME, new, item.kind, item.status, item)
        entry.origin = old
        _complete(entry, prefix)
        entries.append(entry)
    return entries


def _complete(entry: Entry, prefix: str) -> None:
    """Add what only its item tells: where a link points, and why it deserves a look."""
    item = entry.item
    if item is None:
        return
    if item.kind == "symlink":
        entry.target = item.link_target()
    if entry.change == TOUCHED:
        return
    entry.risky = risky_reasons(entry.path, item.kind, entry.mode, entry.target)
    # Only what can be executed: the attribute means nothing on other files.
    if (
        item.kind == "file"
        and entry.mode & 0o111
        and "security.capability" in item.attributes(prefix)
    ):
        entry.risky += (CAPABILITIES,)


def _names_per_inode(found: list[Entry]) -> set[int]:
    """Return the inodes of which several changed paths are names."""
    once: set[int] = set()
    several: set[int] = set()
    for entry in found:
        item = entry.item
        if item is None or item.status.st_nlink == 1 or item.kind == "dir":
            continue
        inode = item.status.st_ino
        (several if inode in once else once).add(inode)
    return several
