"""What an overlay shows for a name: the rules by which layers cover each other.

Kernel: fs/overlayfs/namei.c (ovl_lookup), for any number of layers over a directory. They are
numbered from the topmost, 0; the last level is the directory below them all. The attributes come
from the kernel, yet a payload that could forge them must not lead the walk anywhere: a redirect
is followed name by name inside the layers below, and `..` is not there.

The levels are in two groups: the `uppers`, whose changes are asked for, and those below, which
together are what was there before.
"""

from __future__ import annotations

import stat

from substrate.filesystem.items import Item
from substrate.filesystem.marks import Marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from substrate.filesystem.descriptors import Folder, Tree

    # Hits, and the path in the tree below that they lie over.
    Found = tuple[list["Hit"], str]


class Part:
    """One layer's contribution to a directory."""

    __slots__ = ("_marks", "folder", "level", "merged")

    def __init__(
        self, merged: Merged, level: int, folder: Folder, marks: Marks | None = None
    ) -> None:
        self.merged = merged
        self.level = level
        self.folder = folder
        self._marks = marks

    @property
    def marks(self) -> Marks:
        """What the overlay noted about the directory."""
        if self._marks is None:
            self._marks = self.merged.marks_of_folder(self.folder)
        return self._marks


class Hit:
    """One layer's entry of a name that was looked up."""

    __slots__ = ("folder", "level", "marks", "name", "status")

    def __init__(
        self, level: int, folder: Folder, name: str, status: os.stat_result, marks: Marks | None
    ) -> None:
        self.level = level
        self.folder = folder
        self.name = name
        self.status = status
        self.marks = marks

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_metacopy(self) -> bool:
        """Whether it is without its content, which lies further down."""
        return self.marks is not None and self.marks.metacopy


class Directory:
    """A directory of the tree below the uppers; `path` is where it is in that tree."""

    __slots__ = ("merged", "parts", "path")

    def __init__(self, merged: Merged, parts: list[Part], path: str) -> None:
        self.merged = merged
        self.parts = parts
        self.path = path

    def path_of(self, name: str) -> str:
        """Return the path of an entry."""
        return f"{self.path}/{name}" if self.path else name

    def item(self, name: str) -> Item | None:
        """Return an entry, None when nothing is shown under that name."""
        hits, _ = self.merged.lookup(self.parts, name, "")
        return as_item(hits, self.path_of(name)) if hits else None

    def child(self, name: str) -> Directory | None:
        """Return the directory of that name, None when there is none."""
        hits, _ = self.merged.lookup(self.parts, name, "")
        if not hits or not hits[0].is_folder:
            return None
        return Directory(self.merged, self.merged.parts_of(hits), self.path_of(name))

    def names(self) -> set[str]:
        """Return the names of all entries."""
        if len(self.parts) == 1 and self.parts[0].level == self.merged.bottom:
            return set(self.parts[0].folder.names())
        return {name for _, name, _, hidden in self.merged.listing(self.parts) if not hidden}

    def items(self) -> list[Item]:
        """Return all entries."""
        found: list[Item] = []
        for position, name, status, hidden in self.merged.listing(self.parts):
            if hidden:
                continue
            part = self.parts[position]
            if part.level == self.merged.bottom:
                found.append(Item(part.folder, name, status, at=self.path_of(name)))
                continue
            item = self.item(name)
            if item is not None:
                found.append(item)
        return found

    def status(self) -> os.stat_result:
        """Return the status of the directory itself."""
        return self.parts[0].folder.status()


class Merged:
    """Layers over a directory, seen as the one tree the world sees."""

    def __init__(
        self,
        trees: list[Tree],
        uppers: int,
        prefix: str,
        *,
        indexed: bool = False,
        originals: Mapping[int, int] | None = None,
    ) -> None:
        """Take open trees, the topmost first; they stay the caller's.

        `indexed`: the layers were mounted with an index. `originals`: the inode of a file of the
        tree below -> that of the file whose place it has taken, by which copies know it.
        """
        self.originals = originals or {}
        self.indexed = indexed
        self.trees = trees
        self.uppers = uppers
        self.bottom = len(trees) - 1
        self.prefix = prefix
        # `userxattr` mounts follow no redirect and have no metacopy (ovl_parse_param).
        self.follows = prefix.startswith("trusted.")
        self.roots = [Part(self, level, tree.root) for level, tree in enumerate(trees)]
        # Directories that were moved, and are no longer where they were: filled in by a walk.
        self.severed: set[str] = set()
        # One of the levels below, that is no layer: it covers what the project denies.
        self.cover: Tree | None = None

    def marks_of(self, folder: Folder, name: str) -> Marks:
        """Return the marks of an entry of a layer."""
        return Marks(folder.proc_path(name), self.prefix, follow=self.follows)

    def marks_of_folder(self, folder: Folder) -> Marks:
        """Return the marks of a folder of a layer itself."""
        return Marks(folder.fd(), self.prefix, follow=self.follows)

    def is_whiteout(self, part: Part, name: str, status: os.stat_result) -> bool:
        """Whether an entry of a layer says that there is nothing of that name.

        Opaque `x` on its directory announces whiteouts that are empty files with an attribute,
        which is how an overlay inside an overlay writes them.
        """
        if stat.S_ISCHR(status.st_mode):
            return status.st_rdev == 0
        return (
            part.level != self.bottom
            and stat.S_ISREG(status.st_mode)
            and status.st_size == 0
            and part.marks.opaque == "x"
            and self.marks_of(part.folder, name).whiteout
        )

    def listing(self, parts: list[Part]) -> list[tuple[int, str, os.stat_result, bool]]:
        """Return (number of the part, name, status, whether a whiteout) of the topmost entries."""
        found: list[tuple[int, str, os.stat_result, bool]] = []
        seen: set[str] = set()
        for position, part in enumerate(parts):
            for name, status in part.folder.entries():
                if name not in seen:
                    found.append((position, name, status, self.is_whiteout(part, name, status)))
            if position < len(parts) - 1:
                seen.update(entry[1] for entry in found)
        return found

    def lookup(self, parts: list[Part], name: str, path: str) -> Found:
        """Return what lies under a name of a directory, topmost first, as ovl_lookup does.

        `path` is where that is in the tree below, unless redirects of the uppers lead elsewhere.
        """
        hits: list[Hit] = []
        for part in parts:
            status = part.folder.stat(name)
            if status is None:
                continue
            if self.is_whiteout(part, name, status):
                break
            hit = Hit(part.level, part.folder, name, status, None)
            if hits and hit.is_folder != hits[0].is_folder:
                break
            hits.append(hit)
            redirect = self._goes_on(part, hit)
            if redirect is None:
                break
            if redirect.startswith("/"):
                below = self.find(part.level + 1, redirect[1:])
                if below is not None and below[0][0].is_folder == hit.is_folder:
                    hits += below[0]
                    if part.level < self.uppers:
                        path = below[1]
                break
            if redirect:
                if "/" in redirect or redirect in {".", ".."}:
                    break
                name = redirect
                if part.level < self.uppers:
                    path = f"{path.rpartition('/')[0]}/{name}" if "/" in path else name
        return hits, path

    def _goes_on(self, part: Part, hit: Hit) -> str | None:
        """Return under which name layers further down belong to a hit; "" is its own."""
        if part.level == self.bottom:
            return None
        if hit.is_folder:
            hit.marks = self.marks_of(hit.folder, hit.name)
            return None if hit.marks.opaque == "y" else hit.marks.redirect
        # Without the mark `impure` everything in the directory was made in it: nothing has been
        # copied up (ovl_do_copy_up sets it) or moved in (ovl_rename), so nothing carries marks.
        # Not so without an index: then copies of files with several names have no origin.
        if not self.follows or (self.indexed and not part.marks.impure):
            return None
        hit.marks = self.marks_of(hit.folder, hit.name)
        return hit.marks.redirect if hit.marks.metacopy or hit.marks.redirect else None

    def find(self, level: int, path: str) -> Found | None:
        """Look up a path from the root, in the layers from `level` down; None: not there.

        `path` may have been written by a payload: empty names, `.` and `..` are not there.
        """
        names = path.split("/")
        if any(name in {"", ".", ".."} for name in names):
            return None
        parts, where = self.roots[level:], ""
        for name in names[:-1]:
            hits, where = self.lookup(parts, name, f"{where}/{name}" if where else name)
            if not hits or not hits[0].is_folder:
                return None
            parts = self.parts_of(hits)
        hits, where = self.lookup(parts, names[-1], f"{where}/{names[-1]}" if where else names[-1])
        return (hits, where) if hits else None

    def parts_of(self, hits: list[Hit]) -> list[Part]:
        """Return the parts of a directory that was looked up."""
        return [Part(self, hit.level, hit.folder.child(hit.name), hit.marks) for hit in hits]

    def below(self, hits: list[Hit], path: str) -> Directory | None:
        """Return the part of a directory that lies below the uppers."""
        lower = [hit for hit in hits if hit.level >= self.uppers]
        return Directory(self, self.parts_of(lower), path) if lower else None

    def lower_root(self) -> Directory:
        """Return the root of the tree below the uppers."""
        return Directory(self, self.roots[self.uppers :], "")

    def lower_item(self, path: str) -> Item | None:
        """Return what is at a path of the tree below the uppers."""
        found = self.find(self.uppers, path)
        return None if found is None else as_item(found[0], path)

    def lower_directory(self, path: str) -> Directory | None:
        """Return the directory at a path of the tree below the uppers."""
        found = self.find(self.uppers, path)
        if found is None or not found[0][0].is_folder:
            return None
        return self.below(found[0], path)

    def shows(self, path: str) -> bool:
        """Whether the merged tree has anything at `path`."""
        return self.find(0, path) is not None


def as_item(hits: list[Hit], path: str) -> Item:
    """Return the file that was looked up, with where its content is."""
    top = hits[0]
    item = Item(top.folder, top.name, top.status, top.marks, at=path)
    if top.is_metacopy:
        content = next((hit for hit in hits[1:] if not hit.is_metacopy), None)
        if content is None or not stat.S_ISREG(content.status.st_mode):
            item.data_missing = True
        else:
            item.data = Item(content.folder, content.name, content.status)
    return item
