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

from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.items import Item
from substrate.filesystem.marks import Marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Literal

    from substrate.filesystem.descriptors import Folder, Tree
    from substrate.filesystem.lookahead import Look

    # Hits, and the path in the tree below that they lie over.
    Found = tuple[list["Hit"], str]


class Part:
    """One layer's contribution to a directory; `status` is there when it was looked up."""

    __slots__ = ("_marks", "folder", "level", "merged", "status")

    def __init__(
        self,
        merged: Merged,
        level: int,
        folder: Folder,
        marks: Marks | None = None,
        status: os.stat_result | None = None,
    ) -> None:
        self.merged = merged
        self.level = level
        self.folder = folder
        self.status = status
        self._marks = marks

    @property
    def marks(self) -> Marks:
        """What the overlay noted about the directory."""
        if self._marks is None:
            self._marks = self.merged.marks_of_folder(self.folder)
        return self._marks

    @property
    def leads_away(self) -> bool:
        """Whether it lies over nothing, or over another path than its own."""
        return self._marks is not None and bool(self._marks.redirect or self._marks.opaque)

    def looks_like(self, other: Part) -> bool:
        """Whether neither has attributes to be seen, and they are equal; mostly it is so."""
        one, two = self.status, other.status
        if one is None or two is None or one.st_mode != two.st_mode:
            return False
        if one.st_uid != two.st_uid or one.st_gid != two.st_gid:
            return False
        return not self.marks.others and not other.marks.others

    def item(self, path: str) -> Item:
        """Return the directory as an item, at `path` in the merged tree."""
        folder = self.folder
        status = folder.status() if self.status is None else self.status
        marks = None if self.level == self.merged.bottom else self._marks
        item = Item(folder.parent or folder, folder.name, status, marks, path)
        item.inner = folder
        return item


class Hit:
    """One layer's entry of a name that was looked up; `inner` is a directory that was opened."""

    __slots__ = ("folder", "inner", "is_folder", "level", "marks", "name", "status")

    def __init__(
        self,
        level: int,
        folder: Folder,
        name: str,
        status: os.stat_result,
        inner: Folder | None = None,
    ) -> None:
        self.level = level
        self.folder = folder
        self.name = name
        self.status = status
        self.inner = inner
        self.is_folder = inner is not None or stat.S_ISDIR(status.st_mode)
        self.marks: Marks | None = None

    @classmethod
    def of_folder(cls, part: Part) -> Hit:
        """Return a directory as one of the entries of its parent."""
        folder = part.folder
        status = folder.status() if part.status is None else part.status
        hit = cls(part.level, folder.parent or folder, folder.name, status, folder)
        if part.level != part.merged.bottom:
            hit.marks = part.marks
        return hit

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
        for number, part in enumerate(self.parts):
            status = part.folder.stat(name)
            if status is not None:
                # All whiteouts are empty.
                if not status.st_size and self.merged.is_whiteout(part, name, status):
                    return None
                return self.merged.item(self.parts, number, name, status, self.path_of(name))
        return None

    def child(self, name: str) -> Directory | None:
        """Return the directory of that name, None when there is none."""
        parts, _ = self.merged.folders(self.parts, name, "")
        return Directory(self.merged, parts, self.path_of(name)) if parts else None

    def names(self) -> set[str]:
        """Return the names of all entries."""
        if len(self.parts) == 1 and self.parts[0].level == self.merged.bottom:
            return set(self.parts[0].folder.names())
        return {name for _, name, _, hidden in self.merged.scan(self.parts) if not hidden}

    @property
    def has_statuses(self) -> bool:
        """Whether a look for each of the names that the walk asks for costs nothing."""
        return all(part.folder.has_statuses for part in self.parts)

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
        """Return the marks of a directory of a layer."""
        if folder.parent is None or folder.is_known:
            return Marks(folder.fd(), self.prefix, follow=self.follows)
        return self.marks_of(folder.parent, folder.name)

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
        for position, part in enumerate(parts):
            seen: set[str] = {entry[1] for entry in found} if position else set()
            for name, status in part.folder.entries():
                if name not in seen:
                    found.append((position, name, status, self.is_whiteout(part, name, status)))
        return found

    def scan(self, parts: list[Part]) -> list[tuple[int, str, os.stat_result | None, bool]]:
        """Return what `listing` does; None is the status of a directory, which costs no look."""
        found: list[tuple[int, str, os.stat_result | None, bool]] = []
        for position, part in enumerate(parts):
            seen: set[str] = {entry[1] for entry in found} if position else set()
            for name, status in part.folder.scan():
                if name not in seen:
                    # All whiteouts are empty.
                    hidden = False
                    if status is not None and not status.st_size:
                        hidden = self.is_whiteout(part, name, status)
                    found.append((position, name, status, hidden))
        return found

    def item(
        self, parts: list[Part], position: int, name: str, status: os.stat_result, path: str
    ) -> Item:
        """Return what the part at `position` has under a name, and is not a whiteout."""
        part = parts[position]
        if part.level == self.bottom:
            return Item(part.folder, name, status, None, path)
        unread = (self, parts[position:] if position else parts)
        return Item(part.folder, name, status, None, path, unread)

    def lookup(
        self, parts: list[Part], name: str, path: str, known: os.stat_result | None = None
    ) -> Found:
        """Return what lies under a name of a directory, topmost first, as ovl_lookup does.

        `path` is where that is in the tree below, unless redirects of the uppers lead elsewhere.
        `known` is the status of what the first part has under that name, and is no whiteout.
        """
        hits: list[Hit] = []
        for number, part in enumerate(parts):
            status = part.folder.stat(name) if known is None or hits else known
            if status is None:
                continue
            if self.is_whiteout(part, name, status):
                break
            if stat.S_ISDIR(status.st_mode):
                if not hits:
                    found, path = self.folders(parts[number:], name, path)
                    hits = [Hit.of_folder(one) for one in found]
                break
            hit = Hit(part.level, part.folder, name, status)
            hits.append(hit)
            redirect = self._file_goes_on(part, hit)
            if redirect is None:
                break
            if redirect.startswith("/"):
                below, path = self._at(part, redirect, path, folder=False)
                hits += below
                break
            if redirect:
                name, path = redirect, self._beside(part, redirect, path)
        return hits, path

    def folders(
        self, parts: list[Part], name: str, path: str, look: Look | None = None
    ) -> tuple[list[Part], str]:
        """Return what an overlay merges under a name that is a directory, as `lookup` does.

        Nothing if the first part that has the name has no directory there. `look` is what was
        read before.
        """
        found: list[Part] = []
        for part in parts:
            inner = self._enter(part, name, look)
            if inner is None:
                continue
            if inner is False:
                break
            found.append(inner)
            if part.level == self.bottom or inner.marks.opaque == "y":
                break
            redirect = inner.marks.redirect
            if redirect and not _leads_down(redirect):
                break
            if redirect.startswith("/"):
                below, path = self._at(part, redirect, path, folder=True)
                found += self.parts_of(below)
                break
            if redirect:
                name, path = redirect, self._beside(part, redirect, path)
        return found, path

    def _enter(self, part: Part, name: str, look: Look | None) -> Part | Literal[False] | None:
        """Return a directory in one layer's; None when nothing has the name, False for others."""
        folder = part.folder
        if look is not None and folder.path == look[0] and name == look[1]:
            seen = look[2][part.level]
            if seen is None:
                return None
            if seen and seen.status.st_dev == folder.tree.device:
                inner = folder.child(name).recall(seen)
                return Part(self, part.level, inner, seen.marks, seen.status)
        try:
            entered = folder.enter(name)
        except PermissionError:
            # It may still be looked at from outside.
            status = folder.stat(name)
            entered = None if status is None else (folder.child(name), status)
        except OSError as error:
            if is_gone(error):
                return False
            raise
        return entered and Part(self, part.level, entered[0], None, entered[1])

    def _at(self, part: Part, redirect: str, path: str, *, folder: bool) -> Found:
        """Return what is at a path of the layers below a part, if it is what it should be."""
        found = self.find(part.level + 1, redirect[1:])
        if found is None or found[0][0].is_folder != folder:
            return [], path
        return found[0], found[1] if part.level < self.uppers else path

    def _beside(self, part: Part, name: str, path: str) -> str:
        """Return the path of something that has another name in the layers below a part."""
        if part.level >= self.uppers:
            return path
        return f"{path.rpartition('/')[0]}/{name}" if "/" in path else name

    def _file_goes_on(self, part: Part, hit: Hit) -> str | None:
        """Return under which name layers further down belong to a file; "" is its own."""
        if part.level == self.bottom:
            return None
        marks = hit.marks = self.marks_of_file(part, hit.name)
        if marks is None or not (marks.metacopy or marks.redirect):
            return None
        redirect = marks.redirect
        return redirect if not redirect or _leads_down(redirect) else None

    def marks_of_file(self, part: Part, name: str) -> Marks | None:
        """Return the marks of what is no directory; None when it can have none that count.

        Without the mark `impure` everything in the directory was made in it: nothing has been
        copied up (ovl_do_copy_up sets it) or moved in (ovl_rename), so nothing carries marks. Not
        so without an index: then copies of files with several names have no origin.
        """
        if not self.follows or (self.indexed and not part.marks.impure):
            return None
        return self.marks_of(part.folder, name)

    def find(self, level: int, path: str) -> Found | None:
        """Look up a path from the root, in the layers from `level` down; None: not there.

        `path` may have been written by a payload: empty names, `.` and `..` are not there.
        """
        names = path.split("/")
        if not all(map(_is_name, names)):
            return None
        parts, where = self.roots[level:], ""
        for name in names[:-1]:
            parts, where = self.folders(parts, name, f"{where}/{name}" if where else name)
            if not parts:
                return None
        hits, where = self.lookup(parts, names[-1], f"{where}/{names[-1]}" if where else names[-1])
        return (hits, where) if hits else None

    def parts_of(self, hits: list[Hit]) -> list[Part]:
        """Return the parts of a directory that was looked up."""
        return [
            Part(self, hit.level, hit.inner or hit.folder.child(hit.name), hit.marks, hit.status)
            for hit in hits
        ]

    def split(self, parts: list[Part]) -> tuple[list[Part], list[Part]]:
        """Return the parts of a directory that are in the uppers, and those below them."""
        count = 0
        while count < len(parts) and parts[count].level < self.uppers:
            count += 1
        return parts[:count], parts[count:]

    def below(self, parts: list[Part], path: str) -> Directory | None:
        """Return the part of a directory that lies below the uppers."""
        lower = self.split(parts)[1]
        return Directory(self, lower, path) if lower else None

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
        return self.below(self.parts_of(found[0]), path)

    def shows(self, path: str) -> bool:
        """Whether the merged tree has anything at `path`."""
        return self.find(0, path) is not None


def as_item(hits: list[Hit], path: str) -> Item:
    """Return the file that was looked up, with where its content is."""
    top = hits[0]
    item = Item(top.folder, top.name, top.status, at=path)
    item.lies_over(hits)
    return item


def _is_name(text: str) -> bool:
    """Whether it can be the name of an entry."""
    return "/" not in text and text not in {"", ".", ".."}


def _leads_down(redirect: str) -> bool:
    """Whether it is a path or a name; it may have been written by a payload."""
    return redirect.startswith("/") or _is_name(redirect)
