"""What the project was when a layer was put over it, as far as that decides about accepting.

Nothing is read of the project but its root: a world starts as fast over a million files. What the
host changes afterwards shows in the ctime of the file (`identity.py`), because the moment is taken
from the clock that files get their times from.
"""

from __future__ import annotations

import os
import stat

from substrate import jsontext
from substrate.record import record

BASELINE_FILE = "baseline.json"
# CLOCK_REALTIME_COARSE, which Python does not name: what inodes are stamped with.
_STAMP_CLOCK = 5


@record
class Baseline:
    """The moment of a layer's creation, and the project's root directory then.

    `device` and `inode` are 0 where they were not kept.
    """

    created_ns: int
    device: int = 0
    inode: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0

    def is_root(self, status: os.stat_result) -> bool:
        """Whether a directory is the one the layer was put over."""
        return not self.inode or (self.device, self.inode) == (status.st_dev, status.st_ino)

    def same_root(self, status: os.stat_result) -> bool:
        """Whether the root's mode and owner are what they were."""
        now = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        return bool(self.inode) and (self.mode, self.uid, self.gid) == now


def write_baseline(directory: str, project: str) -> None:
    """Keep what `project` is now in the directory of its layer, at once: it has nothing in it."""
    status = os.stat(project)
    kept = [
        stamp_ns(), status.st_dev, status.st_ino,
        stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
    ]  # fmt: skip
    _write(directory, jsontext.dumps(kept).encode())


def copy_baseline(source: str, target: str) -> None:
    """Give the directory of a layer the baseline of another; nothing happens when it has none."""
    try:
        with open(os.path.join(source, BASELINE_FILE), "rb") as file:
            kept = file.read()
    except FileNotFoundError:
        return
    _write(target, kept)


def read_baseline(directory: str) -> Baseline | None:
    """Return what was kept; None when nothing was, or it cannot be read."""
    try:
        with open(os.path.join(directory, BASELINE_FILE), "rb") as file:
            return Baseline(*jsontext.loads(file.read()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(directory: str, kept: bytes) -> None:
    path = os.path.join(directory, BASELINE_FILE)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path + ".new", flags, 0o600), "wb") as file:
        file.write(kept)
    os.rename(path + ".new", path)


def stamp_ns() -> int:
    """Return the time a file changed now would be stamped with."""
    import time

    return time.clock_gettime_ns(_STAMP_CLOCK)
