"""The result of a diff: which paths changed, how, and what JSON says about it.

`deletes` and the old half of `renames` are paths as they were before; all others are paths as
they are now. `schemas/fs-diff.schema.json` describes the JSON.
"""

from __future__ import annotations

import os
from _operator import attrgetter

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.filesystem.items import Item

WRITE = "write"
MOD = "mod"
DELETE = "delete"
RENAME = "rename"
META = "meta"
TOUCHED = "touched"


class Entry:
    """One changed path with its details.

    A plain class and not a record: a diff makes one for each of 100,000 files. `origin` is the
    old path of something renamed; `kind_before` and `size_before` what was there before. `item` is
    what is there now and `before` what was, where there is one; they can be read while the diff's
    trees are open. `hash` and `hash_before` are digests of the content, `sha256:…` or empty.
    """

    __slots__ = (
        "before",
        "change",
        "gid",
        "hash",
        "hash_before",
        "item",
        "kind",
        "kind_before",
        "mode",
        "mtime_ns",
        "notes",
        "origin",
        "path",
        "risky",
        "size",
        "size_before",
        "target",
        "uid",
    )

    def __init__(
        self,
        change: str,
        path: str,
        kind: str,
        status: os.stat_result,
        item: Item | None = None,
        before: Item | None = None,
    ) -> None:
        self.change = change
        self.path = path
        self.kind = kind
        self.mode = status.st_mode & 0o7777
        self.uid = status.st_uid
        self.gid = status.st_gid
        self.size = status.st_size if kind in {"file", "symlink"} else 0
        self.mtime_ns = status.st_mtime_ns
        self.target = self.origin = self.kind_before = self.hash = self.hash_before = ""
        self.size_before = 0
        self.risky: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.item = item
        self.before = before
        if before is not None:
            self.kind_before = before.kind
            self.size_before = before.status.st_size
            origin = before.path
            if origin not in {path, ""}:
                self.origin = origin

    def __repr__(self) -> str:
        return f"Entry({self.change} {self.path!r} {self.kind} {self.mode:04o})"

    def to_json(self) -> dict[str, Any]:
        """Return the entry for JSON; what is empty is left out, except `risky`."""
        found: dict[str, Any] = {"path": path_text(self.path)}
        _add_exact(found, "path", self.path)
        found |= {
            "change": self.change,
            "kind": self.kind,
            "mode": f"{self.mode:04o}",
            "uid": self.uid,
            "gid": self.gid,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
        }
        for key, value in (("target", self.target), ("origin", self.origin)):
            if value:
                found[key] = path_text(value)
                _add_exact(found, key, value)
        if self.kind_before:
            found["kind_before"] = self.kind_before
            found["size_before"] = self.size_before
        if self.hash:
            found["hash"] = self.hash
        if self.hash_before:
            found["hash_before"] = self.hash_before
        found["risky"] = list(self.risky)
        if self.notes:
            found["notes"] = list(self.notes)
        return found


@record
class Summary:
    """Totals of a diff, true whatever part of it is shown; touched files are not in them.

    `files` and `dirs` count entries; `bytes_added` is the size of new files and what changed
    files grew by, `bytes_removed` that of deleted files and what changed files shrank by.
    """

    files: int
    dirs: int
    bytes_added: int
    bytes_removed: int
    risky: int


@record
class FsDiff:
    """Everything a layer changed, each list in a stable order.

    `tree_hash` is one digest of it all where files were hashed, see `hashing.py`.
    """

    writes: tuple[str, ...]
    mods: tuple[str, ...]
    deletes: tuple[str, ...]
    renames: tuple[tuple[str, str], ...]
    meta: tuple[str, ...]
    touched: tuple[str, ...]
    entries: tuple[Entry, ...]
    summary: Summary
    tree_hash: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing changed; files that were only touched do not count."""
        return not (self.writes or self.mods or self.deletes or self.renames or self.meta)

    def to_json(self, *, touched: bool = False, most: int | None = None) -> dict[str, Any]:
        """Return the diff for JSON; `touched` adds the files that were only touched.

        `most`: no list has more than so many of its first entries, and `truncated` says whether
        one would have; the totals stay true. Paths that are not UTF-8 carry lone surrogates (PEP
        383), as in Python; their entries have the bytes beside it, in base64.
        """
        shown = [entry for entry in self.entries if touched or entry.change != TOUCHED]
        found: dict[str, Any] = {
            "writes": [path_text(path) for path in self.writes[:most]],
            "mods": [path_text(path) for path in self.mods[:most]],
            "deletes": [path_text(path) for path in self.deletes[:most]],
            "renames": [[path_text(old), path_text(new)] for old, new in self.renames[:most]],
            "meta": [path_text(path) for path in self.meta[:most]],
            # A list longer than `most` is a part of the entries, which then are longer too.
            "truncated": most is not None and len(shown) > most,
            "summary": {
                "files": self.summary.files,
                "dirs": self.summary.dirs,
                "bytes_added": self.summary.bytes_added,
                "bytes_removed": self.summary.bytes_removed,
                "risky": self.summary.risky,
            },
            "entries": [entry.to_json() for entry in shown[:most]],
        }
        if touched:
            found["touched"] = [path_text(path) for path in self.touched[:most]]
        if self.tree_hash:
            found["tree_hash"] = self.tree_hash
        return found


def make_diff(entries: list[Entry]) -> FsDiff:
    """Return the diff of these entries: sorted, with its lists and totals."""
    entries.sort(key=attrgetter("path", "change"))
    lists: dict[str, list[str]] = {change: [] for change in (WRITE, MOD, DELETE, META, TOUCHED)}
    renames: list[tuple[str, str]] = []
    files = dirs = added = removed = risky = 0
    for entry in entries:
        if entry.change == RENAME:
            renames.append((entry.origin, entry.path))
        else:
            lists[entry.change].append(entry.path)
        if entry.change == TOUCHED:
            continue
        if entry.kind == "dir":
            dirs += 1
        else:
            files += 1
        risky += bool(entry.risky)
        size = entry.size if entry.kind == "file" else 0
        if entry.change == WRITE:
            added += size
        elif entry.change == DELETE:
            removed += size
        elif entry.change == MOD:
            old = entry.size_before if entry.kind_before in {"", "file"} else 0
            added += max(size - old, 0)
            removed += max(old - size, 0)
    return FsDiff(
        writes=tuple(lists[WRITE]),
        mods=tuple(lists[MOD]),
        deletes=tuple(lists[DELETE]),
        renames=tuple(sorted(renames)),
        meta=tuple(lists[META]),
        touched=tuple(lists[TOUCHED]),
        entries=tuple(entries),
        summary=Summary(files, dirs, added, removed, risky),
    )


def path_text(path: str) -> str:
    """Return a path as UTF-8 with surrogate escapes, whatever the locale decoded it as."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "surrogateescape")


def _add_exact(found: dict[str, Any], key: str, path: str) -> None:
    if path.isascii():
        return
    exact = os.fsencode(path)
    try:
        exact.decode("utf-8")
    except UnicodeDecodeError:
        from binascii import b2a_base64

        found[key + "_base64"] = b2a_base64(exact, newline=False).decode("ascii")
