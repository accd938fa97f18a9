"""Fingerprints of directories: equal fingerprints mean equal trees, whatever they are called.

First by shape (names, kinds, modes, owners, sizes: nothing is opened), then, for those whose
shape occurs on both sides, by content. Every file is read at most once.
"""

from __future__ import annotations

import os

from substrate.filesystem.compare import Unreadable, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from substrate.filesystem.items import Item

    # What is deleted or new, by path. A directory's entries are in the same mapping.
    Items = Mapping[str, Item]


def matching_folders(deleted: Items, new: Items, prefix: str) -> list[tuple[str, str]]:
    """Return (old, new) for directories with equal trees, outer before inner.

    Only where there is exactly one such tree on either side, and only trees with at least one
    file that is not empty: all directories of empty files look alike.
    """
    if not (_has_folder(deleted) and _has_folder(new)):
        return []
    old_shapes, new_shapes = _fingerprints(deleted, _shape), _fingerprints(new, _shape)
    common = set(old_shapes.values()) & set(new_shapes.values())
    if not common:
        return []

    def whole(item: Item) -> bytes:
        return _shape(item) + _content(item, prefix)

    def wholes(items: Items, shapes: dict[str, bytes]) -> dict[bytes, str]:
        wanted = {path for path, shape in shapes.items() if shape in common}
        prints = _fingerprints(_below(items, wanted), whole)
        return _unique({path: prints[path] for path in wanted if path in prints})

    old, fresh = wholes(deleted, old_shapes), wholes(new, new_shapes)
    pairs = [(old[key], fresh[key]) for key in old.keys() & fresh.keys()]
    return sorted(pairs, key=lambda pair: (pair[0].count("/"), pair))


def _has_folder(items: Items) -> bool:
    return any(item.kind == "dir" for item in items.values())


def _fingerprints(items: Items, leaf: Callable[[Item], bytes]) -> dict[str, bytes]:
    """Return the fingerprint of every directory, from the deepest up (no recursion)."""
    from _blake2 import blake2b

    prints: dict[str, bytes] = {}
    inside: dict[str, list[bytes]] = {}
    # Directories that hold a file which is not empty; directories that could not be read.
    telling: set[str] = set()
    unknown: set[str] = set()
    for path in sorted(items, key=lambda path: path.count("/"), reverse=True):
        item = items[path]
        parent, _, name = path.rpartition("/")
        try:
            value = leaf(item)
        except Unreadable:
            unknown.add(parent)
            continue
        if item.kind == "dir":
            parts = sorted(inside.pop(path, ()))
            value = blake2b(value + b"".join(parts), digest_size=32).digest()
            if path in unknown:
                unknown.add(parent)
            elif path in telling:
                prints[path] = value
                telling.add(parent)
        elif item.kind == "file" and item.status.st_size:
            telling.add(parent)
        label = os.fsencode(name) + b"\0"
        inside.setdefault(parent, []).append(label + blake2b(value, digest_size=32).digest())
    return prints


def _below(items: Items, roots: set[str]) -> dict[str, Item]:
    """Return the items at and below the given paths."""
    kept: dict[str, Item] = {}
    for path in sorted(items, key=lambda path: path.count("/")):
        if path in roots or path.rpartition("/")[0] in kept:
            kept[path] = items[path]
    return kept


def _unique(prints: dict[str, bytes]) -> dict[bytes, str]:
    paths: dict[bytes, str] = {}
    twice: set[bytes] = set()
    for path, value in prints.items():
        if value in paths:
            twice.add(value)
        paths[value] = path
    return {value: path for value, path in paths.items() if value not in twice}


def _shape(item: Item) -> bytes:
    status = item.status
    size = status.st_size if item.kind == "file" else 0
    return f"{status.st_mode} {status.st_uid} {status.st_gid} {size} ".encode()


def _content(item: Item, prefix: str) -> bytes:
    shown = repr(sorted(item.attributes(prefix).items())).encode()
    if item.kind == "file":
        return digest(item) + shown
    if item.kind == "symlink":
        return os.fsencode(item.link_target()) + b"\0" + shown
    return f"{item.status.st_rdev} ".encode() + shown
