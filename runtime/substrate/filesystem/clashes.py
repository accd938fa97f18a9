"""Whether a layer goes on from another: then that one cannot be taken out from under it.

What a layer holds on disk decides, and not what its diff tells: a file that was written anew with
the same content is no change, and still hides what is below.
"""

from __future__ import annotations

import os
import stat

from substrate.filesystem.descriptors import Tree
from substrate.filesystem.entries import TOUCHED
from substrate.filesystem.marks import Marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.entries import FsDiff

    # Path -> whether all at and below it depends on what the layer made of it.
    Claims = dict[str, bool]


def first_clash(upper: str, diff: FsDiff, later: str, prefix: str) -> str | None:
    """Return a path where what is in the upper directory `later` depends on that of `upper`.

    `diff` is what the layer of `upper` changed, `prefix` that of the overlay's attributes. None
    for no such path.
    """
    mine, theirs = claims(upper, prefix), claims(later, prefix)
    for entry in diff.entries:
        # What is made in a directory takes a copy of the directory's mode and owner along.
        if entry.change != TOUCHED:
            mine[entry.path] = True
    return next(_clashes(mine, theirs), None)


def claims(upper: str, prefix: str) -> Claims:
    """Return each path that a layer holds; a directory that only leads to others claims nothing."""
    found: Claims = {}
    with Tree(upper) as tree:
        waiting = [tree.root]
        while waiting:
            folder = waiting.pop()
            for name, status in folder.entries():
                path = folder.path_of(name)
                found[path] = not stat.S_ISDIR(status.st_mode)
                if not found[path]:
                    inner = folder.child(name)
                    waiting.append(inner)
                    marks = Marks(inner.fd(), prefix, follow=True)
                    found[path] = marks.opaque == "y" or bool(marks.redirect)
    return found


def _clashes(mine: Claims, theirs: Claims) -> Iterator[str]:
    for one, other in ((mine, theirs), (theirs, mine)):
        for path, whole in other.items():
            if one.get(".") or (path in one and (whole or one[path])):
                yield path
            above = os.path.dirname(path)
            while above:
                if one.get(above):
                    yield path
                above = os.path.dirname(above)
