"""A part of a world's changes: the paths that somebody asks for, and what was changed there."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError, UsageError
from substrate.filesystem.entries import make_diff
from substrate.filesystem.hashing import hash_of
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff


def relative_path(path: str, at: str) -> str:
    """Return a path of the project relative to it, "" for itself; raises `UsageError`."""
    relative = os.path.relpath(path, at) if os.path.isabs(path) else os.path.normpath(path)
    if relative == ".." or relative.startswith("../"):
        message = f"{path} is not in the project, which is {at} in the world"
        raise UsageError(message, "name paths relative to the project")
    return "" if relative == "." else relative


def only(found: FsDiff, wanted: list[str]) -> FsDiff:
    """Return the changes at and below some paths; either end of a rename counts.

    Raises `SubstrateError` for a path at which nothing was changed.
    """

    def is_at(path: str, want: str) -> bool:
        return not want or path == want or path.startswith(f"{want}/")

    for want in wanted:
        if not any(is_at(one.path, want) or is_at(one.origin, want) for one in found.entries):
            message = f"nothing was changed at {want or '.'}"
            raise SubstrateError(message, "name a path that `diff` lists, or a directory above it")
    entries = [
        entry
        for entry in found.entries
        if any(is_at(entry.path, want) or is_at(entry.origin, want) for want in wanted)
    ]
    part = make_diff(entries)
    return replace(part, tree_hash=hash_of(part.entries)) if found.tree_hash else part
