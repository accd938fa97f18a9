"""Changes that a bundle names, or that isolated commands made: accepted with an explicit yes only.

What is read-only in the world cannot be changed there. This is for what was not there yet when the
world was made, or has more than one name.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from substrate.filesystem.entries import DELETE, RENAME, make_diff
from substrate.filesystem.risky import DENIED, ISOLATED, NAMED, READ_ONLY
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from substrate.filesystem.entries import Entry, FsDiff


def mark_named(
    diff: FsDiff, risky: Iterable[str], readonly: Iterable[str], denied: Iterable[str] = ()
) -> FsDiff:
    """Mark the entries that match patterns, and return the diff with its summary anew.

    What takes a `denied` path elsewhere, with a directory above it for one, would show it there.
    """
    groups = ((NAMED, _split(risky)), (READ_ONLY, _split(readonly)), (DENIED, _split(denied)))
    marked = False
    for entry in diff.entries:
        for reason, patterns in groups:
            if reason not in entry.risky and any(_concerns(one, entry) for one in patterns):
                entry.risky += (reason,)
                marked = True
    return replace(make_diff(list(diff.entries)), tree_hash=diff.tree_hash) if marked else diff


def mark_isolated(diff: FsDiff, paths: Collection[str]) -> FsDiff:
    """Mark the entries at, in or above these paths, "" being all; return the diff anew."""
    for entry in diff.entries:
        if any(_touches(name, paths) for name in (entry.path, entry.origin) if name):
            entry.risky = tuple(dict.fromkeys((*entry.risky, ISOLATED)))
    return replace(make_diff(list(diff.entries)), tree_hash=diff.tree_hash)


def _touches(name: str, paths: Collection[str]) -> bool:
    if name in paths or "" in paths:
        return True
    ends = [end for end, character in enumerate(name) if character == "/"]
    inside = name + "/"
    return any(name[:end] in paths for end in ends) or any(one.startswith(inside) for one in paths)


def _split(patterns: Iterable[str]) -> list[list[str]]:
    return [[part for part in one.split("/") if part not in {"", "."}] for one in patterns]


def _concerns(pattern: list[str], entry: Entry) -> bool:
    """Whether an entry is, is in, or takes away what a pattern names."""
    moves = entry.change in {DELETE, RENAME}
    paths = (entry.path, entry.origin) if entry.origin else (entry.path,)
    return any(_leads_to(pattern, path.split("/"), above=moves) for path in paths)


def _leads_to(pattern: list[str], names: list[str], *, above: bool) -> bool:
    """Whether a path matches, or is inside what matches; `above`: or what matches may be in it."""
    if not pattern:
        return True
    if not names:
        return above
    if pattern[0] == "**":
        return any(
            _leads_to(pattern[1:], names[skipped:], above=above)
            for skipped in range(len(names) + 1)
        )
    return fnmatchcase(names[0], pattern[0]) and _leads_to(pattern[1:], names[1:], above=above)
