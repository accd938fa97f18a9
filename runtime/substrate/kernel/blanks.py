"""Files made ahead of their content, at most one in a folder.

To have an inode given out can take a file system a hundred times as long as a rename: ext4 without
a journal looks at all those that were given back in the last minutes.
"""

from __future__ import annotations

import os

BLANK = ".blank"


def make_blank(folder: str, folder_fd: int | None = None) -> None:
    """Make an empty file, readable by its owner only, unless there is one.

    `folder` is a path, relative to a descriptor's directory if there is one.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        os.close(os.open(os.path.join(folder, BLANK), flags, 0o600, dir_fd=folder_fd))
    except FileExistsError:
        return


def take_blank(folder: str, name: str, folder_fd: int | None = None) -> bool:
    """Give a folder's empty file a name; False when there is none, and nothing is done."""
    blank, path = os.path.join(folder, BLANK), os.path.join(folder, name)
    try:
        os.rename(blank, path, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except FileNotFoundError:
        return False
    return True
