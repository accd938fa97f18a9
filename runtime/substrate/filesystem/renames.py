"""Paths across renames: where something is once directories above it have moved."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def after_renames(path: str, renames: Mapping[str, str]) -> str:
    """Return the path after the renames (old -> new); the innermost directory that moved counts."""
    end = len(path)
    while end > 0:
        head = path[:end]
        if head in renames:
            return renames[head] + path[end:]
        end = path.rfind("/", 0, end)
    return path


def is_inside(path: str, roots: Collection[str]) -> bool:
    """Whether a path is in one of these directories; none of them is in itself."""
    parent = path.rpartition("/")[0]
    while parent:
        if parent in roots:
            return True
        parent = parent.rpartition("/")[0]
    return False
