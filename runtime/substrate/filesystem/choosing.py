"""Which entries of a diff a person means, and what else must come along for that to make sense.

A path means what is at it and in it; `*`, `?` and `[…]` match within one name, `**` any number of
names. A path that is there as it is written is never a pattern.
"""

from __future__ import annotations

from substrate.errors import RefusedError, UsageError
from substrate.filesystem.entries import DELETE, RENAME, TOUCHED, WRITE
from substrate.printable import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from substrate.filesystem.entries import Entry

_WILD = frozenset("*?[")


def choose(entries: Sequence[Entry], wanted: Sequence[str], *, parents: bool = True) -> list[Entry]:
    """Return the entries that paths and patterns name, in their order; all for "" or nothing.

    `parents`: with a path inside a new directory comes the directory itself. Raises
    `UsageError` for a path at which nothing changed, `RefusedError` for one inside a directory
    whose move was not named.
    """
    if not wanted or "" in wanted:
        return list(entries)
    chosen: set[int] = set()
    for want in wanted:
        is_meant = matcher(want, entries)
        found = [entry for entry in entries if is_meant(entry.path) or is_meant(entry.origin)]
        if not any(entry.change != TOUCHED for entry in found):
            message = f"nothing has changed at {quote(want)}"
            raise UsageError(message, "substrate-runtime diff ID lists what has")
        chosen.update(id(entry) for entry in found)
    if parents:
        _add_inside(entries, chosen)
        return _with_parents(entries, chosen)
    return [entry for entry in entries if id(entry) in chosen]


def matcher(want: str, entries: Iterable[Entry]) -> Callable[[str], bool]:
    """Return whether a path is at or below what `want` names."""
    inside = want + "/"

    def literally(path: str) -> bool:
        return path == want or path.startswith(inside)

    if _WILD.isdisjoint(want) or any(
        literally(entry.path) or literally(entry.origin) for entry in entries
    ):
        return literally
    pattern = want.split("/")
    return lambda path: bool(path) and _match(pattern, path.split("/"))


def _match(pattern: list[str], names: list[str]) -> bool:
    """Whether the pattern matches the path or a directory it is in."""
    from fnmatch import fnmatchcase

    # The patterns' positions that the names so far can have led to.
    places = _through_stars(pattern, {0})
    for name in names:
        if len(pattern) in places:
            return True
        following: set[int] = set()
        for place in places:
            if pattern[place] == "**":
                following.add(place)
            elif fnmatchcase(name, pattern[place]):
                following.add(place + 1)
        places = _through_stars(pattern, following)
    return len(pattern) in places


def _through_stars(pattern: list[str], places: set[int]) -> set[int]:
    """Return the positions with those that are reached when a `**` stands for nothing."""
    found = set(places)
    for place in sorted(places):
        while place < len(pattern) and pattern[place] == "**":
            place += 1  # noqa: PLW2901 -- on through stars in a row
            found.add(place)
    return found


def _add_inside(entries: Sequence[Entry], chosen: set[int]) -> None:
    """Add what was in directories that are replaced, which in a moved one has other paths."""
    inside = tuple(
        (entry.origin or entry.path) + "/"
        for entry in entries
        if id(entry) in chosen and entry.kind_before == "dir" and entry.kind != "dir"
    )
    if inside:
        gone = (e for e in entries if e.change == DELETE and e.path.startswith(inside))
        chosen.update(map(id, gone))


def _with_parents(entries: Sequence[Entry], chosen: set[int]) -> list[Entry]:
    """Add the directories that must be made for what was chosen."""
    makers = {
        entry.path: entry
        for entry in entries
        if entry.change == RENAME or (entry.change != DELETE and entry.kind == "dir")
    }
    for entry in entries:
        if id(entry) not in chosen or entry.change == DELETE:
            continue
        parent = entry.path.rpartition("/")[0]
        while parent:
            maker = makers.get(parent)
            if maker is not None and id(maker) not in chosen:
                if maker.change == RENAME:
                    old, new = quote(maker.origin), quote(maker.path)
                    message = f"{quote(entry.path)} is in a moved directory: {old} -> {new}"
                    raise RefusedError(message, f"name {new} too")
                if maker.change == WRITE or maker.kind_before not in {"", "dir"}:
                    chosen.add(id(maker))
            parent = parent.rpartition("/")[0]
    return [entry for entry in entries if id(entry) in chosen]
