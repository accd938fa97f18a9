"""What a fork began to see through directories that its layers have moved: files of the project.

The layers hold nothing of them but where their directory was. When the first world is accepted they
come to be where both worlds have them, and mostly the directory itself does. Where its old or its
new place was in use the directory stays, or is made anew, and the files change places: then it is
by them that the fork finds where they are, and that they are what it began with.
"""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.filesystem.merged import as_item
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from substrate.filesystem.items import Item
    from substrate.filesystem.merged import Hit, Merged

SHOWN_FILE = "shown.json"
_ASTRAY_FILE = "astray.json"


@record
class Shown:
    """What was in moved directories, by path in what a fork began with.

    `folders`: of each, the name and inode of all that the project's directory had, also of what a
    layer covers. `files`: what showed of the project, with all that stays while nobody changes it.
    """

    folders: dict[str, dict[str, int]]
    files: dict[str, list[Any]]

    def is_strange(self, merged: Merged, level: int) -> bool:
        """Whether the layers from `level` on show anything in these directories that is new."""
        return any(
            not self.folders.get(path, {}).keys() >= names.keys()
            for path, names in _folders_below_moved(merged, level)
        )


NOTHING = Shown({}, {})


def shown_below_moved(merged: Merged) -> Shown:
    """Return what shows of the project in directories that were moved."""
    shown = Shown({}, {})
    for path, names in _folders_below_moved(merged, 0):
        shown.folders[path] = names
        for name in names:
            found = merged.find(0, f"{path}/{name}")
            if found is not None and found[0][0].level == merged.bottom:
                inner = f"{path}/{name}"
                shown.files[inner] = identity(as_item(found[0], inner), merged.prefix)
    return shown


def _folders_below_moved(merged: Merged, first: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the path of every moved directory and of those in it, and what the project has there.

    `first` is the topmost of the layers that are looked at.
    """
    waiting = [("", merged.roots[first:], False)] if merged.follows else []
    while waiting:
        above, parts, moved = waiting.pop()
        if moved and parts[-1].level == merged.bottom:
            entries = parts[-1].folder.entries()
            yield above, {name: status.st_ino for name, status in entries}
        listed = parts if moved else [part for part in parts if part.level < merged.uppers]
        for _, name, _, hidden in merged.listing(listed):
            hits = [] if hidden else merged.lookup(parts, name, "")[0]
            if hits and hits[0].is_folder:
                path = f"{above}/{name}" if above else name
                waiting.append((path, merged.parts_of(hits), moved or _is_moved(hits)))


def identity(item: Item, prefix: str) -> list[Any]:
    """Return what stays while nobody changes a file, wherever it is moved."""
    status, is_folder = item.status, item.kind == "dir"
    attributes = sorted(item.attributes(prefix).items())
    return [
        status.st_ino, status.st_mode, status.st_uid, status.st_gid,
        0 if is_folder else status.st_size, 0 if is_folder else status.st_mtime_ns,
        [[key, value.hex()] for key, value in attributes],
    ]  # fmt: skip


def write_shown(data: str, shown: Shown) -> None:
    """Keep it in the new data directory of a fork."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(os.path.join(data, SHOWN_FILE), flags, 0o600), "wb") as file:
        file.write(jsontext.dumps_line([shown.folders, shown.files]).encode())


def read_shown(data: str) -> Shown:
    """Return what is kept of that, nothing for a world that is no fork."""
    try:
        with open(os.path.join(data, SHOWN_FILE), "rb") as file:
            folders, files = jsontext.loads(file.read())
    except FileNotFoundError:
        return NOTHING
    return Shown(folders, files)


def write_astray(data: str, paths: list[str]) -> None:
    """Keep which moved directories a fork sees with something else in them than there was."""
    where = os.path.join(data, _ASTRAY_FILE)
    if not paths:
        if os.path.lexists(where):
            os.unlink(where)
        return
    with open(where + ".new", "wb") as file:
        file.write(jsontext.dumps_line(paths).encode())
    os.replace(where + ".new", where)


def read_astray(data: str) -> list[str]:
    """Return which those are."""
    try:
        with open(os.path.join(data, _ASTRAY_FILE), "rb") as file:
            return list(jsontext.loads(file.read()))
    except FileNotFoundError:
        return []


def _is_moved(hits: list[Hit]) -> bool:
    return any(hit.marks is not None and bool(hit.marks.redirect) for hit in hits)
