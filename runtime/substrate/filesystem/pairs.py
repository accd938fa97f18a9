"""Finds renames that the kernel did not record, by identity and by content.

A layer in a user namespace holds a moved file as a whiteout and a full copy, and so does any
layer after `cp a b && rm a`. Such a pair counts as a rename only when it cannot be another one:
exactly one deleted and one new file with that size, mode and content, and not an empty file.
Whole directories are paired first, when all that was in one is in the other, equal.
"""

from __future__ import annotations

from _bisect import bisect_left

from substrate.filesystem.compare import Unreadable, digest, same_metadata
from substrate.filesystem.marks import origin_inode
from substrate.filesystem.trees import matching_folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from substrate.filesystem.items import Item

    Key = Hashable
    # Path -> what two files must share to be the same one; None is never shared.
    Keys = dict[str, Key]

# Enough to tell most files of equal size apart without reading them whole.
FIRST_BYTES = 1 << 16


class Pairs:
    """What was deleted and what is new, by path; `find` moves pairs of them into `renames`.

    `originals`: the inode of a file of the project -> that by which copies know it, if another.
    """

    def __init__(
        self,
        deleted: dict[str, Item],
        new: dict[str, Item],
        prefix: str,
        originals: Mapping[int, int],
    ) -> None:
        self.deleted = deleted
        self.new = new
        self.renames: dict[str, str] = {}
        self.items_of_renames: dict[str, Item] = {}
        # New path -> what it was before, for files that may have changed since the move.
        self.moved: dict[str, tuple[Item, Item]] = {}
        self._prefix = prefix
        self._originals = originals

    def find(self) -> None:
        """Find all pairs."""
        if not self.deleted or not self.new:
            return
        if self._prefix.startswith("trusted."):
            self._pair_origins()
        self._pair_folders()
        self._pair_contents()

    def _pair_contents(self) -> None:
        """Pair files by size and mode, then by their first bytes, then by all of them."""
        old: Keys = {path: _size(item) for path, item in self.deleted.items()}
        new: Keys = {path: _size(item) for path, item in self.new.items()}
        for limit in (FIRST_BYTES, None):
            common = {key for key in old.values() if key is not None} & set(new.values())
            if not common:
                return
            old = _sharper(self.deleted, old, common, limit)
            new = _sharper(self.new, new, common, limit)
        self._pair(old, new, changed=False)

    def _pair_origins(self) -> None:
        """Pair copies with what they were copied from, whatever was written to them since."""
        old: Keys = {
            path: (item.kind, self._inode(item))
            for path, item in self.deleted.items()
            if item.kind != "dir"
        }
        new: Keys = {}
        for path, item in self.new.items():
            if item.kind != "dir" and item.marks is not None and item.marks.copied_up:
                inode = origin_inode(item.folder, item.name, self._prefix)
                new[path] = (item.kind, inode) if inode else None
        self._pair(old, new, changed=True)

    def _inode(self, item: Item) -> int:
        """Return the inode by which copies know a deleted file."""
        inode = item.status.st_ino
        # A layer's own file has marks. Its number may be that of another in the project.
        if inode not in self._originals or item.marks is not None:
            return inode
        return self._originals[inode]

    def _pair(self, old: Keys, new: Keys, *, changed: bool) -> None:
        old_paths, new_paths = _unique(old), _unique(new)
        for key in old_paths.keys() & new_paths.keys():
            old_path, new_path = old_paths[key], new_paths[key]
            before, after = self.deleted.pop(old_path), self.new.pop(new_path)
            if changed or not same_metadata(after, before, self._prefix):
                self.moved[new_path] = (after, before)
            self.renames[old_path] = new_path
            self.items_of_renames[new_path] = after

    def _pair_folders(self) -> None:
        pairs = matching_folders(self.deleted, self.new, self._prefix)
        if not pairs:
            return
        old_paths, new_paths = sorted(self.deleted), sorted(self.new)
        for old_path, new_path in pairs:
            # An inner pair is done with its outer one, unless that was paired elsewhere.
            if old_path in self.deleted and new_path in self.new:
                self.items_of_renames[new_path] = self.new[new_path]
                _drop(self.deleted, old_paths, old_path)
                _drop(self.new, new_paths, new_path)
                self.renames[old_path] = new_path


def _unique(keys: Keys) -> dict[Key, str]:
    """Return the path of each key that only one path has."""
    paths: dict[Key, str] = {}
    twice: set[Key] = {None}
    for path, key in keys.items():
        if key in paths:
            twice.add(key)
        paths[key] = path
    return {key: path for key, path in paths.items() if key not in twice}


def _sharper(items: dict[str, Item], keys: Keys, common: set[Key], limit: int | None) -> Keys:
    """Return the keys that occur on both sides, each with a digest of the content."""
    return {path: _key(items[path], key, limit) for path, key in keys.items() if key in common}


def _drop(items: dict[str, Item], paths: list[str], root: str) -> None:
    """Remove a directory and all that moves with it; `paths` is every path there was, sorted.

    What lies in a directory that the kernel recorded as moved in or out was not compared.
    """
    del items[root]
    inside, dropped = root + "/", {root}
    for place in range(bisect_left(paths, inside), len(paths)):
        path = paths[place]
        if not path.startswith(inside):
            break
        if path.rpartition("/")[0] in dropped:
            dropped.add(path)
            items.pop(path, None)


def _size(item: Item) -> tuple[int, int] | None:
    """Return what two files must share to be opened at all, None when nothing would tell."""
    if item.kind != "file" or not item.status.st_size:
        return None
    return (item.status.st_size, item.status.st_mode)


def _key(item: Item, known: Key, limit: int | None) -> Key:
    if known is None:
        return None
    try:
        return (known, digest(item, limit))
    except Unreadable:
        return None
