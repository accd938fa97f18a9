"""Diffs, and what is accepted or discarded of them, held against walks before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from substrate.filesystem.conflict import host_path
from substrate.filesystem.entries import DELETE, RENAME, WRITE
from substrate.filesystem.renames import after_renames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from substrate.filesystem.entries import Entry, FsDiff
    from tests.support.overlay import Snapshot


def check(before: Snapshot, after: Snapshot, diff: FsDiff) -> None:
    """Compare the diff with the two walks, path by path and as a whole."""
    _check_sets(before, after, diff)
    _check_origins(before, after, diff)


def _inside(tree: Snapshot, root: str) -> set[str]:
    return {path for path in tree if path == root or path.startswith(root + "/")}


def _check_sets(before: Snapshot, after: Snapshot, diff: FsDiff) -> None:
    deleted, written = set(diff.deletes), set(diff.writes)
    for old, new in diff.renames:
        deleted |= _inside(before, old)
        written |= _inside(after, new)
    both = before.keys() & after.keys()
    changed = {path for path in both if before[path][0] != after[path][0]}
    meta = {path for path in both - changed if before[path][1] != after[path][1]}
    assert deleted == before.keys() - after.keys()
    assert written == after.keys() - before.keys()
    assert set(diff.mods) - written == changed
    assert set(diff.meta) - written == meta
    lists = [diff.writes, diff.mods, diff.deletes, diff.meta, diff.touched]
    lists.append(tuple(new for _, new in diff.renames))
    assert all(list(paths) == sorted(set(paths)) for paths in lists[:-1])
    assert len(lists[-1]) == len(set(lists[-1]))


def _check_origins(before: Snapshot, after: Snapshot, diff: FsDiff) -> None:
    """Undo the renames: everything not listed must be exactly what it was."""
    old_of = {new: old for old, new in diff.renames}
    writes, mods, meta = set(diff.writes), set(diff.mods), set(diff.meta)
    origins: set[str] = set()
    for path, (content, metadata, times) in after.items():
        if path in writes:
            continue
        origin, parts = path, path.split("/")
        for length in range(len(parts), 0, -1):
            new = "/".join(parts[:length])
            if new in old_of:
                origin = "/".join([old_of[new], *parts[length:]])
                break
        origins.add(origin)
        old_content, old_metadata, old_times = before[origin]
        assert (path in mods) == (content != old_content)
        if path not in mods:
            assert (path in meta) == (metadata != old_metadata)
        unchanged = path not in mods and path not in meta
        if unchanged and origin == path and len(content) > 1 and times != old_times:
            assert path in diff.touched
        elif path in diff.touched:
            assert unchanged
    assert set(diff.deletes) == before.keys() - origins


def without(
    before: Snapshot, after: Snapshot, chosen: Sequence[Entry], renames: dict[str, str]
) -> Snapshot:
    """Return what shows once the chosen changes are gone; `renames` are all, by origin."""
    taken = {entry.path for entry in chosen if entry.change in {WRITE, RENAME}}
    back = {host_path(entry) for entry in chosen if entry.change in {DELETE, RENAME}}
    left = {old: new for old, new in renames.items() if old not in back}
    found = {path: facts for path, facts in after.items() if not _is_in(path, taken)}
    alone = {host_path(entry) for entry in chosen if entry.change not in {WRITE, DELETE, RENAME}}
    for path, facts in before.items():
        if path in alone or _is_in(path, back):
            found[after_renames(path, left)] = facts
    return found


def _is_in(path: str, roots: set[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)
