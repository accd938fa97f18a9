"""What a fork began with: the layers it has from another world, and the host's files then.

Both worlds go on from there and may be accepted, one after the other. What the first brings into
the project has changed on the host since the second began; yet where the host has just what the
second inherited, it has nothing that the second has not seen: its own changes were made to that.
"""

from __future__ import annotations

import os
import stat

from substrate import jsontext
from substrate.filesystem.compare import Unreadable, same_content, same_metadata
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.items import Item
from substrate.filesystem.merged import Merged, as_item
from substrate.filesystem.shown import NOTHING, identity, read_shown
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.merged import Hit
    from substrate.filesystem.project import Project
    from substrate.filesystem.shown import Shown

INHERITED_FILE = "inherited.json"


@record
class Inherited:
    """The layers a world began with, as paths below its data, and what they left in the project.

    `content`: layer -> inode of a file in it that has its content in the project -> inode, size
    and mtime of that one when the fork was made.
    """

    layers: tuple[str, ...]
    content: dict[str, dict[int, tuple[int, int, int]]]


def write_inherited(data: str, inherited: Inherited) -> None:
    """Keep it in the new data directory of a fork."""
    kept = {
        layer: {str(inode): list(there) for inode, there in files.items()}
        for layer, files in inherited.content.items()
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(os.path.join(data, INHERITED_FILE), flags, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(jsontext.dumps([list(inherited.layers), kept]))


def read_inherited(data: str) -> Inherited | None:
    """Return what a world began with, None for one that is no fork."""
    if not data:
        return None
    try:
        with open(os.path.join(data, INHERITED_FILE), "rb") as file:
            layers, kept = jsontext.loads(file.read())
    except FileNotFoundError:
        return None
    content = {
        layer: {int(inode): (there[0], there[1], there[2]) for inode, there in files.items()}
        for layer, files in kept.items()
    }
    return Inherited(tuple(layers), content)


class Stack:
    """Within `with`: layers over what is below them, the project last, as the one tree they show.

    The topmost come first.
    """

    def __init__(self, uppers: list[str], lowers: list[str], prefix: str) -> None:
        self._paths = (uppers, lowers)
        self._prefix = prefix
        self._trees: list[Tree] = []

    def __enter__(self) -> Merged:
        uppers, lowers = self._paths
        try:
            for path in (*uppers, *lowers):
                self._trees.append(Tree(path))
        except BaseException:
            self.__exit__()
            raise
        return Merged(self._trees, len(uppers), self._prefix)

    def __exit__(self, *_details: object) -> None:
        for tree in self._trees:
            tree.close()


def content_in_project(merged: Merged, level: int, path: str) -> Item | None:
    """Return what a file of a layer has its content in, if that is in the project."""
    found = merged.find(level, path)
    data = None if found is None else as_item(found[0], path).data
    return data if data is not None and data.folder.tree is merged.trees[-1] else None


def contents_below(
    merged: Merged, level: int, files: Iterable[str]
) -> dict[int, tuple[int, int, int]]:
    """Return inode -> (inode, size, mtime) of what a layer's files have in the project.

    `files` are those of the layer `level` without content of their own.
    """
    found: dict[int, tuple[int, int, int]] = {}
    for path in files:
        data = content_in_project(merged, level, path)
        hits = merged.find(level, path)
        if data is not None and hits is not None:
            found[hits[0][0].status.st_ino] = _content(data.status)
    return found


def names_of_inherited(merged: Merged, data: str, inherited: Inherited) -> list[str]:
    """Return the name of each layer that a fork began with, "" for its own, the topmost first.

    As far as they are still there: they may have been dropped, or joined with later ones.
    """
    known = {os.path.join(data, layer, "upper"): layer for layer in inherited.layers}
    return [known.get(tree.path, "") for tree in merged.trees[: merged.uppers]]


class HostView:
    """Answers whether the host has at a path just what a fork inherited there."""

    def __init__(self, merged: Merged, data: str) -> None:
        self._merged = merged
        self._data = data
        self._shown: Shown | None = None
        self._inherited = read_inherited(data)
        self._level = merged.uppers
        if self._inherited is None:
            return
        self._names = names_of_inherited(merged, data, self._inherited)
        named = (at for at, name in enumerate(self._names) if name)
        self._level = next(named, merged.uppers)

    def is_as_inherited(self, path: str, project: Project) -> bool:
        """Whether it has, by content and metadata; where no layer tells, nothing is known."""
        merged = self._merged
        if self._level >= merged.uppers or not path:
            return False
        found, here = merged.find(self._level, path), merged.trees[-1].find(path)
        if found is None and here is None:
            return project.status(path) is None and self._is_removed(path)
        if found is None or here is None:
            return False
        if found[0][0].level >= merged.uppers:
            is_same = found[0][0].status.st_ino == here[2].st_ino
            return is_same and self._is_as_shown(path, Item(*here))
        host, item = Item(*here), as_item(found[0], path)
        if host.kind != item.kind or not same_metadata(item, host, merged.prefix):
            return False
        return self._has_content(host, item, found[0][0])

    def _is_as_shown(self, path: str, host: Item) -> bool:
        """Whether a file of the project is one that was seen in a directory that had moved."""
        if self._shown is None:
            self._shown = read_shown(self._data)
            if self._shown.is_strange(self._merged, self._level):
                # The layers do not lie over what they were made over, so nothing is known.
                self._shown = NOTHING
        then = self._shown.files.get(path)
        return then is not None and then == identity(host, self._merged.prefix)

    def _has_content(self, host: Item, item: Item, top: Hit) -> bool:
        if top.is_metacopy and (item.data_missing or self._is_of_project(item)):
            # To compare it with the host's would be to compare that with itself.
            kept = self._inherited.content if self._inherited is not None else {}
            then = kept.get(self._names[top.level], {}).get(item.status.st_ino)
            now = _content(host.status)
            # The time is what an accept has set, where the world had set one.
            return then is not None and now in {then, (*then[:2], item.status.st_mtime_ns)}
        try:
            return host.kind == "dir" or same_content(item, host)
        except Unreadable:
            return False

    def _is_of_project(self, item: Item) -> bool:
        return item.data is not None and item.data.folder.tree is self._merged.trees[-1]

    def _is_removed(self, path: str) -> bool:
        """Whether one of the layers says that nothing is there, and not just the project."""
        merged = self._merged
        parent, _, name = path.rpartition("/")
        if parent:
            found = merged.find(self._level, parent)
            if found is None or not found[0][0].is_folder:
                return False
            parts = merged.parts_of(found[0])
        else:
            parts = merged.roots[self._level :]
        for part in parts:
            status = part.folder.stat(name) if part.level < merged.uppers else None
            if status is not None:
                return merged.is_whiteout(part, name, status)
        return False


def _content(status: os.stat_result) -> tuple[int, int, int]:
    kind = stat.S_ISREG(status.st_mode)
    return (status.st_ino if kind else 0, status.st_size, status.st_mtime_ns)
