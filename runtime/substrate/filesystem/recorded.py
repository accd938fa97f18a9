"""A diff back from its JSON; `FsDiff.to_json` is the way there."""

from __future__ import annotations

import os

from substrate.filesystem.entries import Entry, FsDiff, make_diff
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def from_json(data: Any) -> FsDiff:
    """Return the diff that `to_json(touched=True)` has told, uncut.

    Raises KeyError, TypeError or ValueError when it is not one.
    """
    found = make_diff([_entry(item) for item in data["entries"]])
    return replace(found, tree_hash=data.get("tree_hash", ""))


def _entry(item: dict[str, Any]) -> Entry:
    numbers = (0, 0, 0, 0, int(item["uid"]), int(item["gid"]), 0, 0, 0, 0)
    entry = Entry(item["change"], _path(item, "path"), item["kind"], os.stat_result(numbers))
    entry.mode = int(item["mode"], 8)
    entry.size = int(item["size"])
    entry.mtime_ns = int(item["mtime_ns"])
    entry.target = _path(item, "target") if "target" in item else ""
    entry.origin = _path(item, "origin") if "origin" in item else ""
    entry.kind_before = item.get("kind_before", "")
    entry.size_before = int(item.get("size_before", 0))
    entry.hash = item.get("hash", "")
    entry.hash_before = item.get("hash_before", "")
    entry.risky = tuple(item.get("risky", ()))
    entry.notes = tuple(item.get("notes", ()))
    return entry


def _path(item: dict[str, Any], key: str) -> str:
    exact = item.get(key + "_base64")
    if exact is not None:
        from binascii import a2b_base64

        return os.fsdecode(a2b_base64(exact))
    return os.fsdecode(str(item[key]).encode("utf-8", "surrogateescape"))
