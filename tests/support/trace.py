"""Lines for a trace that say of themselves whether they are whole, and all that is in one."""

from __future__ import annotations

import hashlib
from typing import Any

from substrate.jsontext import dumps_line
from substrate.trace.reader import Reader


def line(number: int, length: int, writer: int = 0) -> bytes:
    """Return a record of about `length` bytes that carries its number and its digest."""
    filler = f"{number}-{writer}-" * (length // 4 + 1)
    filler = filler[:length]
    digest = hashlib.sha256(filler.encode()).hexdigest()
    data = {"v": 1, "ts": "t", "n": number, "writer": writer, "sha256": digest, "filler": filler}
    return dumps_line(data).encode() + b"\n"


def is_whole(data: dict[str, Any]) -> bool:
    """Whether a record of `line` is as it was made."""
    return bool(hashlib.sha256(data["filler"].encode()).hexdigest() == data["sha256"])


def read(directory: str) -> list[dict[str, Any]]:
    """Return every record of a trace but the headers of segments."""
    with Reader(directory) as reader:
        return [found.data for found in reader if found.data.get("event_type") != "segment_open"]
