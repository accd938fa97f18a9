"""A limit of the space that the layers of a world may take, kept by the kernel.

By a project quota: of all that could limit a directory it alone is enforced at each write, keeps
the layers where they are, and needs no mount that would have to outlive its world. See
docs/decisions/0007-disk-limit.md for what else was considered.

Root may exceed a quota (CAP_SYS_RESOURCE); an overlay that root has mounted does not, since the
kernel takes that right out of what the overlay writes with (Linux 4.10, commit 51f8f3c4e225).
"""

from __future__ import annotations

import os
from _blake2 import blake2b

from substrate.errors import SubstrateError
from substrate.kernel import quota

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Ours have this bit; administrators number theirs from 1 in /etc/projid.
_OURS = 1 << 30
_TRIES = 64
# What is left of a limit that was reached: less than one write of a program's.
_NEARLY = 1 << 16


def why_unlimited(directory: str) -> str:
    """Say why the space of a directory cannot be limited, "" when it can.

    It, or a parent of it, exists.
    """
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    fd = os.open(directory, _DIRECTORY)
    try:
        return quota.is_enforced(fd)
    finally:
        os.close(fd)


def limit_space(directory: str, limit_bytes: int) -> None:
    """Limit what is made in an empty directory from now on, in whole KiB; raises SubstrateError."""
    fd = os.open(directory, _DIRECTORY | os.O_NOFOLLOW)
    try:
        project = _free_project(fd, directory)
        quota.set_limit(fd, project, limit_bytes)
        quota.set_project(fd, project)
    except OSError as error:
        message = f"cannot limit the space of {directory}: {error.strerror}"
        raise SubstrateError(message) from error
    finally:
        os.close(fd)


def used_space(directory: str) -> tuple[int, int] | None:
    """Return the bytes that a limited directory takes and may take, None without a limit."""
    fd = os.open(directory, _DIRECTORY | os.O_NOFOLLOW)
    try:
        project = quota.project_of(fd)
        return quota.used_and_limit(fd, project) if project & _OURS else None
    except OSError:
        return None  # it was turned off meanwhile
    finally:
        os.close(fd)


def is_used_up(used_bytes: int, limit_bytes: int) -> bool:
    """Whether so little is left of a limit that a write was refused, or the next one would be."""
    return limit_bytes > 0 and used_bytes > limit_bytes - min(_NEARLY, limit_bytes // 10)


def limit_of(parent_fd: int, name: str) -> int:
    """Return the project of a directory that is about to be removed, 0 without a limit of its own.

    What is in a limited directory has the project of that, whose limit stays.
    """
    try:
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
    except OSError:
        return 0
    try:
        project = quota.project_of(fd)
        return project if project & _OURS and project != quota.project_of(parent_fd) else 0
    finally:
        os.close(fd)


def forget_limit(parent_fd: int, project: int) -> None:
    """Take the limit of a project away whose directory is removed: nothing of it is left."""
    try:
        quota.set_limit(parent_fd, project, 0)
    except OSError:
        return  # quotas were turned off meanwhile, and their limits with them


def _free_project(fd: int, directory: str) -> int:
    for number in range(_TRIES):
        name = f"{number}:{os.path.abspath(directory)}".encode("utf-8", "surrogateescape")
        digest = blake2b(name, digest_size=4).digest()
        project = _OURS | int.from_bytes(digest, "little") & (_OURS - 1)
        used, limit = quota.used_and_limit(fd, project)
        if not used and not limit:
            return project
    message = f"cannot limit the space of {directory}: every number for it is taken"
    raise SubstrateError(message, "repquota -P lists the projects in use")
