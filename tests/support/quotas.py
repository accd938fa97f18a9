"""Quotas of users, set without the programs for it."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

from substrate.kernel.linux import raw_syscall

if TYPE_CHECKING:
    from pathlib import Path

_QUOTACTL_FD, _SET_QUOTA, _USER = 443, 0x800008, 0
# struct if_dqblk, of which only the limits of blocks are valid.
_QUOTA = struct.Struct("=8QI4x")
_BLOCK_LIMITS = 1


def limit_user(place: Path, uid: int, limit_bytes: int) -> None:
    """Limit what a user may have on the file system of a directory; 0 is no limit."""
    blocks = limit_bytes // 1024
    wanted = _QUOTA.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS)
    buffer = ctypes.create_string_buffer(wanted, len(wanted))
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        words = (fd, _SET_QUOTA << 8 | _USER, uid, ctypes.addressof(buffer))
        result = raw_syscall(_QUOTACTL_FD, words)
    finally:
        os.close(fd)
    assert result >= 0, os.strerror(-result)
