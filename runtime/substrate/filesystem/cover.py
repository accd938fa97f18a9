"""What a project denies its worlds, as a layer of its own between it and the layers of spans.

A mask is a mount on a path, and holds in one mount namespace. Here the paths are covered in the
overlay itself: an empty file or directory lies over each of them. Whatever name a span finds, or
gives to a directory above, the kernel looks it up here before the project.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from substrate.filesystem.layers import copy_root
from substrate.filesystem.project import Project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.descriptors import Tree

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_cover(directory: str, project: str, paths: Iterable[str], prefix: str) -> None:
    """Make the layer in a new directory; the paths are relative to the project, without links.

    What is not there is left out. `prefix` is that of the overlay's attributes.
    """
    upper = os.path.join(directory, "upper")
    os.makedirs(upper, 0o700)
    made: set[str] = set()
    with Project(project) as source:
        for path in sorted(paths):
            status = source.status(path)
            # What is below a covered path is covered with it.
            if status is None or any(above in made for above in _above(path)):
                continue
            made.add(path)
            _cover(os.path.join(upper, path), status, prefix)
        parents = {above for path in made for above in _above(path)}
        # From the deepest up: what is made in a directory changes its times.
        for path in sorted({*parents, ""}, key=lambda path: path.count("/") + bool(path))[::-1]:
            copy_root(f"/proc/self/fd/{source.folder(path)}", os.path.join(upper, path))


def denies(cover: Tree, path: str, *, moved: bool) -> bool:
    """Whether a path of the project is covered; `moved`: or anything in it is."""
    names = path.split("/")
    for length in range(1, len(names) + 1):
        found = cover.find("/".join(names[:length]))
        if found is None:
            return False
        folder, name, status = found
        if not stat.S_ISDIR(status.st_mode):
            return True
        where = folder.proc_path(name)
        if any(key.endswith(".overlay.opaque") for key in os.listxattr(where)):
            return True
    return moved


def _cover(where: str, status: os.stat_result, prefix: str) -> None:
    os.makedirs(os.path.dirname(where), 0o700, exist_ok=True)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(where, 0o700)
        fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.setxattr(fd, prefix + "opaque", b"y")
    else:
        fd = os.open(where, _NEW_FILE, 0o600)
    try:
        made = os.fstat(fd)
        if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
            # An ordinary user's world may deny what is another's.
            with suppress(PermissionError):
                os.fchown(fd, status.st_uid, status.st_gid)
        # For its owner to look at: it is empty, and a copy of it can be read when layers are.
        os.fchmod(fd, 0o500 if stat.S_ISDIR(status.st_mode) else 0o400)
    finally:
        os.close(fd)


def _above(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:length]) for length in range(1, len(names))]
