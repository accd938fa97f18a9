"""Reading a file that may be somebody else's: no more of it than asked for."""

from __future__ import annotations

import os


def read_at_most(fd: int, limit_bytes: int) -> bytes | None:
    """Return what a descriptor gives until its end, None when that is more than the limit."""
    chunks: list[bytes] = []
    size = 0
    # One byte more than allowed: the size of a growing file is not to be trusted.
    while chunk := os.read(fd, limit_bytes + 1 - size):
        chunks.append(chunk)
        size += len(chunk)
    return None if size > limit_bytes else b"".join(chunks)
