"""Records of moved things made true again, after what they were made from has moved itself.

Two worlds of one project may have the same rename: both moved `d` to `e`, one has it accepted, and
the project's `d` is `e` now. In the layers of the other, `e` still says that it was `d`. By its
inode the overlay's record tells which of the project's directories or files is meant, and where an
accept has moved that to is where the world itself has it.
"""

from __future__ import annotations

import os
import stat

from substrate.filesystem.inherited import Stack, names_of_inherited, read_inherited
from substrate.filesystem.items import Item
from substrate.filesystem.marks import attribute, origin_inode
from substrate.filesystem.shown import identity, read_shown, write_astray

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.descriptors import Folder, Tree
    from substrate.filesystem.marks import Marks
    from substrate.filesystem.merged import Hit, Merged
    from substrate.filesystem.shown import Shown

    # What a layer has moved, without anything below it: level, folder, name, path in the layer.
    Severed = tuple[int, Folder, str, str]

# Where it was at first, for when that accept is undone; the kernel hides it like its own.
_WAS = "substrate.was"


def mend(uppers: list[str], lowers: list[str], prefix: str, data: str = "") -> int:
    """Make the records of layers at rest true again; returns how many were not.

    `uppers` are the layers, the topmost first, `lowers` what is below them, the project last.
    `data` is where a fork keeps what it began with. What cannot be found again stays as it is.
    """
    with Stack(uppers, lowers, prefix) as merged:
        # Without redirects nothing can be untrue.
        if not merged.follows:
            return 0
        found, led = _follow_contents(merged, data)
        severed = [
            one
            for level in range(len(uppers))
            for one in _severed(merged, level)
            if (level, one[3]) not in found
        ]
        if not severed:
            return led
        places = dict(_places(merged))
        return led + sum(_mend(merged, one, places) for one in severed)


def _follow_contents(merged: Merged, data: str) -> tuple[set[tuple[int, str]], int]:
    """Lead moved directories of a fork to where the files are that it saw in them.

    Returns those whose files were found, as level and path in the layer, and how many of them
    were led elsewhere. All of them are, or none: where several layers have a directory, one may
    stand in the way of another.
    """
    shown, inherited = read_shown(data), read_inherited(data)
    if not shown.folders or inherited is None:
        return set(), 0
    names = names_of_inherited(merged, data, inherited)
    first = next((at for at, name in enumerate(names) if name), merged.uppers)
    found: dict[str, tuple[list[tuple[int, str]], str]] = {}
    before: list[tuple[Severed, bytes | None]] = []
    for view in sorted(shown.folders, key=lambda path: path.count("/")):
        hits = _upper_hits(merged, first, view)
        if not hits:
            continue
        # What is above it finds it as before; the lowest layer's leads to the project.
        level, path = _place(hits[-1])
        moved = (level, hits[-1].folder, hits[-1].name, path)
        best = _place_of(merged, moved, view, shown)
        if not best:
            continue
        found[view] = [_place(hit) for hit in hits], best
        if best != _lies_over(merged, level, path):
            key = merged.prefix + "redirect"
            before.append((moved, attribute(moved[1], moved[2], key)))
            _redirect(merged, moved, best)
    for view, (places, best) in found.items():
        same = places == [_place(hit) for hit in _upper_hits(merged, first, view)]
        if not same or _lies_over(merged, first, view) != best:
            _take_back(merged, before)
            shown_at = dict(_places(merged))
            astray = [(_place_in(moved), moved[3]) for moved, _ in before]
            write_astray(data, [shown_at.get(place, path) for place, path in astray])
            return set(), 0
    write_astray(data, [])
    return {places[-1] for places, _ in found.values()}, len(before)


def _upper_hits(merged: Merged, first: int, path: str) -> list[Hit]:
    return _of_layers(merged, (merged.find(first, path) or ([], ""))[0])


def _place(hit: Hit) -> tuple[int, str]:
    return hit.level, hit.folder.path_of(hit.name)


def _place_in(moved: Severed) -> tuple[int, str]:
    return moved[0], moved[3]


def _take_back(merged: Merged, before: list[tuple[Severed, bytes | None]]) -> None:
    key = merged.prefix + "redirect"
    for (_, folder, name, _), redirect in before:
        if redirect is None:
            os.removexattr(folder.proc_path(name), key, follow_symlinks=False)
        else:
            os.setxattr(folder.proc_path(name), key, redirect, follow_symlinks=False)


def _place_of(merged: Merged, moved: Severed, view: str, shown: Shown) -> str:
    """Return where a moved directory is most like itself, "" where it is nowhere."""
    level, folder, name, path = moved
    inside, project = shown.folders[view], merged.trees[-1]
    was = os.fsdecode(attribute(folder, name, merged.prefix + _WAS) or b"").lstrip("/")
    most, best = (0, 0), ""
    for place in filter(None, (_lies_over(merged, level, path), view, was)):
        names = _names_in(project, place)
        if names is None:
            continue
        known = 0
        for one in inside.keys() & names.keys():
            facts, there = shown.files.get(f"{view}/{one}"), project.find(f"{place}/{one}")
            if facts is None or there is None:
                known += names[one] == inside[one]
            else:
                known += identity(Item(*there), merged.prefix) == facts
        # Where all were changed by an accept, or there were none, what is new tells.
        alike = (known, -len(names.keys() - inside.keys()))
        if not best or alike > most:
            most, best = alike, place
    return best


def _names_in(project: Tree, path: str) -> dict[str, int] | None:
    found = project.find(path)
    if found is None or not stat.S_ISDIR(found[2].st_mode):
        return None
    return {name: status.st_ino for name, status in found[0].child(found[1]).entries()}


def _lies_over(merged: Merged, level: int, path: str) -> str:
    """Return which directory of the project one of a layer lies over, "" for none."""
    found = merged.find(level, path)
    return "" if found is None or found[0][-1].level != merged.bottom else found[1]


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
    redirect = attribute(folder, name, merged.prefix + "redirect") or b""
    beside = os.fsdecode(os.path.basename(redirect))
    for candidate in (path, shown, os.fsdecode(was or b"").lstrip("/"), _beside(shown, beside)):
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


def _beside(path: str, name: str) -> str:
    """Return the path of a name in the directory of another."""
    parent = path.rpartition("/")[0]
    return f"{parent}/{name}" if parent else name


def _redirect(merged: Merged, severed: Severed, path: str) -> None:
    _, folder, name, before = severed
    key, where = merged.prefix + "redirect", folder.proc_path(name)
    if attribute(folder, name, merged.prefix + _WAS) is None:
        first = attribute(folder, name, key) or os.fsencode(f"/{before}")
        os.setxattr(where, merged.prefix + _WAS, first, follow_symlinks=False)
    os.setxattr(where, key, os.fsencode(f"/{path}"), follow_symlinks=False)
