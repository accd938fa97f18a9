"""What a directory tree is: every path with its kind, mode, owner, times and content."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Snapshot = dict[str, tuple[object, ...]]


def snapshot(root: Path) -> Snapshot:
    """Return what is in a tree; equal snapshots mean that nothing changed."""
    found: Snapshot = {}
    for folder, directories, files in os.walk(root):
        for name in (".", *directories, *files):
            path = os.path.normpath(os.path.join(folder, name))
            found[os.path.relpath(path, root)] = _facts(path)
    return found


def _facts(path: str) -> tuple[object, ...]:
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        content = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
    attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in
                  os.listxattr(path, follow_symlinks=False)]  # fmt: skip
    return (
        status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink,
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, content, tuple(attributes),
    )  # fmt: skip
