"""Digests of changed files and of a whole diff, where `$.substrate.diff.hash` asks for them."""

from __future__ import annotations

import os

from substrate.filesystem.compare import Unreadable, read_chunks
from substrate.filesystem.entries import DELETE, META, MOD, RENAME, TOUCHED, Entry, FsDiff
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.items import Item

NONE, SMALL, ALL = "none", "small", "all"
_PREFIX = "sha256:"
# A file whose digest is missing because it could not be read, or was exchanged meanwhile.
NOT_HASHED = "not-hashed"


def add_hashes(diff: FsDiff, mode: str, small_bytes: int) -> FsDiff:
    """Return the diff with the digests of its files, now and before, and its own.

    While the diff's trees are open. `mode` is `none`, `small` (files up to `small_bytes`) or
    `all`. An entry whose file cannot be read carries the note `not-hashed`.
    """
    if mode == NONE:
        return diff
    most = small_bytes if mode == SMALL else None
    for entry in diff.entries:
        if entry.change != TOUCHED:
            _hash_entry(entry, most)
    return replace(diff, tree_hash=hash_of(diff.entries))


def hash_of(entries: Iterable[Entry]) -> str:
    """Return one digest of what entries say, but for times and owners, in the order given.

    Two diffs with equal ones made the same changes, as far as their files were hashed.
    """
    from hashlib import sha256

    state = sha256()
    for entry in entries:
        if entry.change == TOUCHED:
            continue
        words = (
            entry.change, entry.kind, f"{entry.mode:o}", str(entry.size), entry.hash,
            entry.path, entry.origin, entry.target,
        )  # fmt: skip
        for word in words:
            state.update(os.fsencode(word) + b"\0")
    return _PREFIX + state.hexdigest()


def _hash_entry(entry: Entry, most: int | None) -> None:
    try:
        if entry.change != DELETE:
            entry.hash = _hash(entry.item, most)
        if entry.change in (MOD, DELETE):
            entry.hash_before = _hash(entry.before, most)
        elif entry.change in (META, RENAME):
            entry.hash_before = entry.hash if entry.change == META else ""
    except Unreadable:
        entry.notes += (NOT_HASHED,)


def _hash(item: Item | None, most: int | None) -> str:
    if item is None or item.kind != "file":
        return ""
    if most is not None and item.status.st_size > most:
        return ""
    from hashlib import sha256

    state = sha256()
    for chunk in read_chunks(item):
        state.update(chunk)
    return _PREFIX + state.hexdigest()
