"""Which paths of a project its bundle's `deny` patterns name.

Hidden names match like any other, and no symbolic link is followed: a hostile project could
lead the search in circles, or over the whole host. What is below a denied directory is denied
with it.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def matching_paths(root: str, patterns: Iterable[str]) -> list[str]:
    """Return the paths below `root` that match, relative to it, sorted.

    `*`, `?` and `[…]` match within one name, `**` any number of directories.
    """
    wanted = _split(patterns)
    found: list[str] = []
    for directory, folders, files in os.walk(root):
        inside = os.path.relpath(directory, root)
        names = () if inside == "." else tuple(inside.split("/"))
        denied = {
            name
            for name in (*folders, *files)
            if any(_matches(parts, (*names, name)) for parts in wanted)
        }
        found += ["/".join((*names, name)) for name in denied]
        folders[:] = [name for name in folders if name not in denied]
    return sorted(found)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return whether a path relative to the project is denied, for paths found one by one."""
    wanted = _split(patterns)
    return lambda path: any(_matches(parts, tuple(path.split("/"))) for parts in wanted)


def _split(patterns: Iterable[str]) -> list[tuple[str, ...]]:
    return [
        tuple(part for part in pattern.split("/") if part not in ("", ".")) for pattern in patterns
    ]


def _matches(parts: tuple[str, ...], names: tuple[str, ...]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(parts[1:], names[skipped:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(parts[1:], names[1:])
