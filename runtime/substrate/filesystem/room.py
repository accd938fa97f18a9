"""What is said when there is no room left: which file system is full, or that a quota is."""

from __future__ import annotations

import errno
import os

from substrate.errors import SubstrateError

# Less than one file and its directory need.
_NEARLY_NOTHING = 1 << 16
_FEW = 4


def no_room(error: BaseException | None, doing: str, *places: str) -> SubstrateError | None:
    """Return what to raise instead of an error that says there is no room, None for all others.

    `places` are the directories that were written to. The project is what it was then: the
    caller's change is taken back, at the latest by the next call.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return None
    if error.errno == errno.EDQUOT:
        message = f"{doing}: {error.strerror}: a quota is full, nothing was changed"
        return SubstrateError(message, "`quota -v`, or `repquota -a` as root, shows whose")
    if error.errno != errno.ENOSPC:
        return None
    full = next((place for place in places if _is_full(place)), "")
    where = f" on the file system of {full}" if full else ""
    message = f"{doing}: {error.strerror}{where}, nothing was changed"
    return SubstrateError(message, f"make room and try again: df -h {full}; df -i {full}".rstrip())


def _is_full(place: str) -> bool:
    try:
        found = os.statvfs(place)
    except OSError:
        return False
    few = found.f_files > 0 and found.f_favail < _FEW
    return few or found.f_bavail * found.f_frsize < _NEARLY_NOTHING
