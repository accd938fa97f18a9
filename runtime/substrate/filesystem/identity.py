"""What tells that a file is still the very one it was: for files of the host, on one file system.

The kernel sets the time of the last status change (ctime) at every change of content, name count,
mode, owner or attributes, and no call can set it back. So an equal identity means that nothing
happened to the file meanwhile.
"""

from __future__ import annotations

import stat

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os


@record
class Identity:
    """A file as it was at one moment."""

    inode: int
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def is_folder(self) -> bool:
        """Whether it was a directory."""
        return stat.S_ISDIR(self.mode)

    def same_content(self, other: Identity) -> bool:
        """Whether this is the same file with the same content, by inode, size and mtime.

        For after a rename, which changes the ctime. Directories only by inode.
        """
        if self.inode != other.inode or stat.S_IFMT(self.mode) != stat.S_IFMT(other.mode):
            return False
        if self.is_folder:
            return True
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)

    def to_json(self) -> list[int]:
        """Return the identity as it is stored."""
        return [self.inode, self.mode, self.size, self.mtime_ns, self.ctime_ns]


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity in a status."""
    return Identity(
        status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def identity_from(stored: list[int] | None) -> Identity | None:
    """Return the identity of its stored form."""
    return None if stored is None else Identity(*stored)
