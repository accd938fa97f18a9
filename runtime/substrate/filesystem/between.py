"""What changed in one layer between two looks at it, for commands that share the layer.

Each look is a diff of the layer with the identity of every file: inode, times, size, mode and
extended attributes. The old content is gone by then, so a file counts as modified when its
content may have been written, and renames among what earlier commands made are told as what is
gone and what is new.
"""

from __future__ import annotations

import os

from substrate.filesystem.entries import (
    DELETE,
    META,
    MOD,
    RENAME,
    TOUCHED,
    WRITE,
    Entry,
    make_diff,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.diff import Changes
    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.items import Item
    from substrate.filesystem.keptlook import KeptLook


class Look:
    """A layer as it was at one moment: its diff, and the identity of what it holds by path."""

    def __init__(self, changes: Changes) -> None:
        """Take the look; the changes may be closed afterwards."""
        self.diff = changes.diff
        self.entries, self.left = by_path(self.diff)
        prefix = changes.merged.prefix
        self.identities = {
            entry.path: _identity(entry.item, prefix)
            for entry in self.diff.entries
            if entry.item is not None
        }


def by_path(diff: FsDiff) -> tuple[dict[str, Entry], set[str]]:
    """Return the entries of a diff by path, and what its renames have left.

    That is not there any more, like what was deleted.
    """
    entries: dict[str, Entry] = {}
    left: set[str] = set()
    for entry in diff.entries:
        if entry.change == RENAME:
            left.add(entry.origin)
            entries.setdefault(entry.path, entry)
        else:
            entries[entry.path] = entry
    return entries, left


def between(old: Look | KeptLook, new: Look) -> FsDiff:
    """Return what happened after `old` and until `new`."""
    found: list[Entry] = []
    for path in old.entries.keys() | new.entries.keys():
        before, after = old.entries.get(path), new.entries.get(path)
        if before is None:
            assert after is not None  # noqa: S101 -- the path is in one of them
            found.append(after)
        elif after is None:
            found += _undone(path, before, new)
        else:
            found += _compared(path, before, after, old, new)
    return make_diff(found)


def _undone(path: str, before: Entry, new: Look) -> list[Entry]:
    """Return what took a change back: the path is as it is below the layer."""
    if before.change == TOUCHED:
        return []
    if before.change in (WRITE, RENAME):
        return [_gone(before, DELETE, before)]
    if path in new.left:
        # Below the layer it was, and it has been moved away; the rename tells.
        return []
    return [_gone(before, {DELETE: WRITE, META: META}.get(before.change, MOD), before)]


def _compared(
    path: str, before: Entry, after: Entry, old: Look | KeptLook, new: Look
) -> list[Entry]:
    was_there, is_there = before.change != DELETE, after.change != DELETE
    if not was_there and not is_there:
        return []
    if not was_there:
        return [_as(after, WRITE, None)]
    if not is_there:
        return [_gone(before, DELETE, before)]
    first, second = old.identities.get(path), new.identities.get(path)
    if first == second and before.origin == after.origin:
        return []
    if after.change == RENAME and before.change != RENAME:
        return [_gone(before, DELETE, before), after] if before.change == WRITE else [after]
    return [_as(after, _kind_of_change(first, second), before)]


def _kind_of_change(first: tuple[object, ...] | None, second: tuple[object, ...] | None) -> str:
    if first is None or second is None or first[0] != second[0]:
        return MOD
    return META if first[1] != second[1] else TOUCHED


def _identity(item: Item, prefix: str) -> tuple[object, ...]:
    """Return (what changes with the content, what with the metadata, the time of any change)."""
    status = item.status
    if item.kind == "dir":
        content: object = "dir"
    else:
        content = (item.kind, status.st_ino, status.st_size, status.st_mtime_ns, status.st_rdev)
    try:
        attributes = sorted(item.attributes(prefix).items())
    except OSError:
        attributes = []
    metadata = (status.st_mode, status.st_uid, status.st_gid, repr(attributes))
    when = 0 if item.kind == "dir" else status.st_ctime_ns
    return content, metadata, when


def _gone(entry: Entry, change: str, before: Entry | None) -> Entry:
    """Return what the earlier look said of a path, as a change; its files are closed by now."""
    made = _as(entry, change, before)
    made.item = None
    return made


def _as(entry: Entry, change: str, before: Entry | None) -> Entry:
    made = Entry(change, entry.path, entry.kind, os.stat_result((0,) * 10))
    for name in Entry.__slots__:
        setattr(made, name, getattr(entry, name))
    made.change = change
    made.before = None
    made.origin = ""
    made.kind_before = "" if before is None or change in (WRITE, DELETE) else before.kind
    made.size_before = 0 if before is None or change in (WRITE, DELETE) else before.size
    return made
