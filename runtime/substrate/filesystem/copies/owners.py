"""Owners in a copy whose world has ids of its own, and what they are in the project.

An overlay of root's shows the project through an id-mapped mount. A copy is the world's alone, so
its files are simply given to the ids that the world's users have outside.
"""

from __future__ import annotations

import os

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@record
class Shift:
    """`size` ids from 0 on are those from `uid` and `gid` on in the copy; none are by default."""

    uid: int = 0
    gid: int = 0
    size: int = 0

    def into(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the owner a file of the project has in the copy."""
        return _up(uid, self.uid, self.size), _up(gid, self.gid, self.size)

    def back(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the owner a file of the copy has in the project."""
        return _down(uid, self.uid, self.size), _down(gid, self.gid, self.size)

    def to_json(self) -> list[int]:
        """Return the shift as it is stored."""
        return [self.uid, self.gid, self.size]


def with_owner(status: os.stat_result, uid: int, gid: int) -> os.stat_result:
    """Return a status with another owner."""
    if (status.st_uid, status.st_gid) == (uid, gid):
        return status
    fields: Sequence[float] = (
        *status[:4], uid, gid, *status[6:10],
        status.st_atime, status.st_mtime, status.st_ctime,
        status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns,
        status.st_blksize, status.st_blocks, status.st_rdev,
    )  # fmt: skip
    return os.stat_result(fields)


def _up(number: int, first: int, size: int) -> int:
    return number + first if number < size else number


def _down(number: int, first: int, size: int) -> int:
    return number - first if first <= number < first + size else number
