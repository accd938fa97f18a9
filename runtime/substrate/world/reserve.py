"""Room that no command can take, for the calls that make some when nothing else is left.

A command that fills the file system of its layers leaves nothing to record it with, nor to note
what is being taken back. So some blocks lie ready beside them, and are let go for the time of a
`discard` or `rollback` that finds none.
"""

from __future__ import annotations

import os

RESERVE_FILE = "reserve"
_SIZE_BYTES = 1 << 18


def keep_reserve(data: str) -> None:
    """Set room aside in the directory of a world's data, where there is some."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(os.path.join(data, RESERVE_FILE), flags, 0o600)
    except OSError:
        # It is for others later; whoever cannot have it now does what it came for.
        return
    try:
        if os.fstat(fd).st_blocks * 512 < _SIZE_BYTES:
            os.posix_fallocate(fd, 0, _SIZE_BYTES)
    except OSError:
        return
    finally:
        os.close(fd)


class Released:
    """Within `with`: what was set aside may be used, if there is no other room."""

    def __init__(self, data: str) -> None:
        self._data = data
        self._is_used = False

    def __enter__(self) -> None:
        room = os.statvfs(self._data)
        if room.f_bavail * room.f_frsize < _SIZE_BYTES:
            self._is_used = True
            try:
                os.unlink(os.path.join(self._data, RESERVE_FILE))
            except FileNotFoundError:
                return

    def __exit__(self, *_details: object) -> None:
        if self._is_used:
            keep_reserve(self._data)
