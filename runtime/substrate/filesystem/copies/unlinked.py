"""Names that the host has removed of a file which the world has changed under another name.

What is written to a file shows under all its names, and nobody can tell by which of them the world
wrote. So a removed name goes from the world too, as it does where an overlay has an index, as long
as another one has what was written; the last one stays, since nothing of the world's may be lost.
"""

from __future__ import annotations

from substrate.filesystem.compare import Unreadable, same_content, same_metadata
from substrate.filesystem.copies.intents import is_within
from substrate.filesystem.copies.marks import PREFIX
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.items import Item, is_whiteout_device

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from substrate.filesystem.copies.derived import Derived
    from substrate.filesystem.descriptors import Folder, Tree


class Names:
    """The names of changed files, as the walk over a copy has found them, and who has them now."""

    def __init__(self, derived: Derived, copy: Tree, project: Tree, foreign: set[str]) -> None:
        """Take what was found so far; `foreign` are places whose changes are not the world's."""
        self._derived = derived
        self._copy = copy
        self._project = project
        self._foreign = foreign

    def removed(self, before: list[str], here: dict[str, str], moved: Iterable[str]) -> list[str]:
        """Return which of one file's names the host has removed, and the world can do without.

        `before` are all of them, `here` leads from those that the world has left in their places
        to where these are in the copy, and `moved` are names the world has given it since.
        """
        gone = [name for name in here if self._on_host(name) is None]
        if not gone:
            return []
        stays = any(not is_within(here[name], self._foreign) for name in here.keys() - set(gone))
        if stays or self._is_moved(moved) or self._is_equal(here[gone[0]], before):
            return gone
        return []

    def _is_moved(self, paths: Iterable[str]) -> bool:
        """Whether the world has moved a name that the host has still."""
        origins = [self._derived.mark_of(path).redirect for path in paths]
        return any(origin and self._on_host(origin[1:]) is not None for origin in origins)

    def _is_equal(self, path: str, names: list[str]) -> bool:
        """Whether the host has under another name just what the copy has at a path.

        The world may have changed no more than the number of names, by removing one.
        """
        found = self._copy.find(path)
        if found is None:
            return False
        folder, name, status = found
        here = Item(folder, name, self._derived.shown(status, self._derived.table.rows[names[0]]))
        there = [Item(*place) for name in names if (place := self._on_host(name)) is not None]
        try:
            return any(
                item.kind == here.kind
                and same_metadata(here, item, PREFIX)
                and same_content(here, item)
                for item in there
            )
        except Unreadable:
            return False

    def _on_host(self, path: str) -> tuple[Folder, str, os.stat_result] | None:
        try:
            found = self._project.find(path)
        except OSError as error:
            if not is_gone(error):
                raise
            return None
        # An overlay shows none of these.
        return None if found is not None and is_whiteout_device(found[2]) else found
