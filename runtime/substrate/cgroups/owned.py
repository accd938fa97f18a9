"""Which cgroup is whose, and removing a world's, whatever interrupted its making.

The path is stored before anything is made, and a cgroup that was made carries its owner in an
extended attribute. So whoever cleans up after a killed runtime kills only what is certainly the
world's, and a path that named somebody else's cgroup is left alone.
"""

from __future__ import annotations

import errno
import os

from substrate.cgroups.group import REMOVAL_TIMEOUT_S, Cgroup
from substrate.errors import UnsupportedError
from substrate.kernel import cgroup2

# The first one where we may: a payload that was given its cgroup cannot take that mark away.
OWNER_MARKS = ("trusted.substrate.world", "user.substrate.world")
# The cgroup that holds the worlds of one delegated subtree. No process is ever in it, so that
# controllers can be enabled for its children (cgroups(7), no internal processes).
FOLDER = "substrate"


def open_world(directory: str, owner: str) -> Cgroup | None:
    """Open the cgroup of a world, None when it is gone or is not that owner's."""
    world = Cgroup.open(directory)
    if world is not None and owner_of(world) != owner:
        world.close()
        return None
    return world


def remove_world(directory: str, owner: str, timeout_s: float = REMOVAL_TIMEOUT_S) -> bool:
    """Kill what is left in a world's cgroup and remove it; idempotent, after any interruption.

    False when there is a cgroup that is not the owner's and in use, which is left as it is.
    """
    world = Cgroup.open(directory)
    if world is None:
        _remove_folder(directory)
        return True
    with world:
        theirs = owner_of(world)
        if theirs == owner:
            if world.is_populated:
                world.kill()
        elif theirs is not None or world.is_populated or cgroup2.children(world.fd):
            return False
        world.remove(timeout_s)
    _remove_folder(directory)
    return True


def owner_of(world: Cgroup) -> str | None:
    """Return whom a cgroup was made for, None when it is not one of ours."""
    for name in OWNER_MARKS:
        try:
            return os.fsdecode(os.getxattr(world.fd, name))
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EPERM, *cgroup2.GONE):
                raise
    return None


def mark(world: Cgroup, owner: str) -> None:
    """Say whom a cgroup is for; raises `UnsupportedError` where we may not."""
    privileged, ordinary = OWNER_MARKS
    try:
        try:
            os.setxattr(world.fd, privileged, os.fsencode(owner))
        except PermissionError:
            os.setxattr(world.fd, ordinary, os.fsencode(owner))
    except OSError as error:
        message = f"cannot mark the cgroup {world.directory} as ours: {error.strerror}"
        raise UnsupportedError(message, "name another one in linux.cgroupsPath") from error


def _remove_folder(directory: str) -> None:
    """Remove our folder with the last world of it; another one being made makes it again."""
    parent = os.path.dirname(directory)
    if os.path.basename(parent) != FOLDER:
        return
    try:
        os.rmdir(parent)
    except OSError as error:
        # ENOTEMPTY does not exist on cgroup2: a cgroup with children is busy.
        if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM, *cgroup2.GONE):
            raise
