"""Whether one change goes on from another: then the other cannot be taken out from under it."""

from __future__ import annotations

from substrate.filesystem.entries import DELETE, META, RENAME, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.entries import FsDiff


def first_clash(one: FsDiff, other: FsDiff) -> str | None:
    """Return a path that both changed, or where one depends on the other; None for no such path."""
    mine, theirs = _claims(one), _claims(other)
    return next(_clashes(mine, theirs), None)


def _claims(diff: FsDiff) -> dict[str, bool]:
    """Return each path that was changed, and whether all below it depends on that.

    What is changed below a directory takes a copy of the directory's mode and owner along.
    """
    claims = dict.fromkeys(diff.touched, False)
    for entry in diff.entries:
        whole = entry.change in {WRITE, DELETE, RENAME, META} or entry.kind_before not in {
            "",
            "dir",
        }
        claims[entry.path] = claims.get(entry.path, False) or whole
        if entry.origin:
            claims[entry.origin] = True
    return claims


def _clashes(mine: dict[str, bool], theirs: dict[str, bool]) -> Iterator[str]:
    for one, other in ((mine, theirs), (theirs, mine)):
        for path in other:
            if path in one or one.get("."):
                yield path
            names = path.split("/")
            for length in range(1, len(names)):
                if one.get("/".join(names[:length])):
                    yield path
