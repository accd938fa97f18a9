"""Records of moved things made true again, after what they were made from has moved itself.

Two worlds of one project may have the same rename: both moved `d` to `e`, one has it accepted, and
the project's `d` is `e` now. In the layers of the other, `e` still says that it was `d`. By its
inode the overlay's record tells which of the project's directories or files is meant, and where an
accept has moved that to is where the world itself has it.
"""

from __future__ import annotations

import os
import stat

from substrate.filesystem.inherited import Stack
from substrate.filesystem.marks import attribute, origin_inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.marks import Marks
    from substrate.filesystem.merged import Hit, Merged

    # What a layer has moved, without anything below it: level, folder, name, path in the layer.
    Severed = tuple[int, Folder, str, str]

# Where it was at first, for when that accept is undone; the kernel hides it like its own.
_WAS = "substrate.was"


def mend(uppers: list[str], lowers: list[str], prefix: str) -> int:
    """Make the records of layers at rest true again; returns how many were not.

    `uppers` are the layers, the topmost first, `lowers` what is below them, the project last.
    What cannot be found again stays as it is.
    """
    with Stack(uppers, lowers, prefix) as merged:
        # Without redirects nothing can be untrue.
        if not merged.follows:
            return 0
        severed = [one for level in range(len(uppers)) for one in _severed(merged, level)]
        if not severed:
            return 0
        places = dict(_places(merged))
        return sum(_mend(merged, one, places) for one in severed)


def _severed(merged: Merged, level: int) -> Iterator[Severed]:
    waiting = [merged.trees[level].root]
    while waiting:
        folder = waiting.pop()
        for name, status in folder.entries():
            if stat.S_ISDIR(status.st_mode):
                waiting.append(folder.child(name))
            elif not stat.S_ISREG(status.st_mode):
                continue
            path = folder.path_of(name)
            if _is_severed(merged, level, path, merged.marks_of(folder, name)):
                yield level, folder, name, path


def _is_severed(merged: Merged, level: int, path: str, marks: Marks) -> bool:
    """Whether an entry that was made from the project does not lie over that any more."""
    if marks.opaque == "y" or not marks.copied_up:
        return False
    found = merged.find(level, path)
    if found is None or found[0][0].level != level:
        return False
    hits = found[0]
    if not hits[0].is_folder and not (marks.metacopy and marks.redirect):
        return False
    if len(hits) == 1:
        return True
    inode = origin_inode(hits[0].folder, hits[0].name, merged.prefix)
    return hits[1].level == merged.bottom and inode not in {0, hits[1].status.st_ino}


def _places(merged: Merged) -> Iterator[tuple[tuple[int, str], str]]:
    """Yield (level, path in that layer) -> path in what the world sees."""
    waiting = [("", merged.roots)]
    while waiting:
        above, parts = waiting.pop()
        uppers = [part for part in parts if part.level < merged.uppers]
        for _, name, _, hidden in merged.listing(uppers):
            path = f"{above}/{name}" if above else name
            hits = [] if hidden else merged.lookup(parts, name, "")[0]
            for hit in _of_layers(merged, hits):
                yield (hit.level, hit.folder.path_of(hit.name)), path
            if hits and hits[0].is_folder:
                waiting.append((path, merged.parts_of(hits)))


def _of_layers(merged: Merged, hits: list[Hit]) -> list[Hit]:
    return [hit for hit in hits if hit.level < merged.uppers]


def _mend(merged: Merged, severed: Severed, places: dict[tuple[int, str], str]) -> bool:
    level, folder, name, path = severed
    status, project = folder.stat(name), merged.trees[-1]
    inode = origin_inode(folder, name, merged.prefix)
    was = attribute(folder, name, merged.prefix + _WAS)
    shown = places.get((level, path), "")
    fallback = ""
    for candidate in (path, shown, os.fsdecode(was or b"").lstrip("/")):
        found = project.find(candidate) if candidate else None
        if found is None or status is None:
            continue
        if stat.S_IFMT(found[2].st_mode) != stat.S_IFMT(status.st_mode):
            continue
        if inode and found[2].st_ino == inode:
            _redirect(merged, severed, candidate)
            return True
        # Made anew by an accept that had to put it in the place of a file.
        if candidate == (shown or path) and stat.S_ISDIR(status.st_mode):
            fallback = candidate
    if fallback:
        _redirect(merged, severed, fallback)
    return bool(fallback)


def _redirect(merged: Merged, severed: Severed, path: str) -> None:
    _, folder, name, before = severed
    key, where = merged.prefix + "redirect", folder.proc_path(name)
    if attribute(folder, name, merged.prefix + _WAS) is None:
        first = attribute(folder, name, key) or os.fsencode(f"/{before}")
        os.setxattr(where, merged.prefix + _WAS, first, follow_symlinks=False)
    os.setxattr(where, key, os.fsencode(f"/{path}"), follow_symlinks=False)
