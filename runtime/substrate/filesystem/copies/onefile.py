"""One file of a project into a copy: it counts when it was the same before and after."""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import SubstrateError, UnsupportedError
from substrate.filesystem.copies.table import seen
from substrate.filesystem.copying import Metadata, copy_item, metadata_of
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.items import Item
from substrate.printable import quote
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from substrate.filesystem.copies.owners import Shift
    from substrate.filesystem.descriptors import Folder

_TRIES = 10
# Labels of the security modules are theirs to set.
_LABELS = "attribute security."


def copy_steadily(
    source: Folder, name: str, status: os.stat_result, target: Folder, to: str, shift: Shift
) -> os.stat_result | None:
    """Copy what is at a name, with all that belongs to it but what a directory holds.

    Returns the status of what was copied, None when it is gone. Raises `UnsupportedError` for
    what cannot be copied, `SubstrateError` for what changes all the time.
    """
    for _ in range(_TRIES):
        made = _try(source, name, status, target, to, shift)
        now = source.stat(name)
        if made and now is not None and seen(now) == seen(status):
            return status
        _take_away(target, to)
        if now is None:
            return None
        status = now
    message = f"copying {quote(source.path_of(name))}: it changes all the time"
    raise SubstrateError(message, "stop what writes to it, or leave it out by project.deny")


def fit(metadata: Metadata, shift: Shift) -> Metadata:
    """Return the metadata with the owner it has in the copy."""
    uid, gid = shift.into(metadata.uid, metadata.gid)
    return replace(metadata, uid=uid, gid=gid)


def check_lost(path: str, lost: list[str]) -> None:
    """Refuse when attributes were lost. Lost owners are shown as the project's."""
    for what in lost:
        if what.startswith("attribute ") and not what.startswith(_LABELS):
            refuse(path, f"the {what} cannot be kept there")


def refuse(path: str, reason: str) -> NoReturn:
    """Raise `UnsupportedError` for a path that cannot be copied."""
    message = f"copying {quote(path or '.')}: {reason.lower()}"
    raise UnsupportedError(message, f"leave it out: name {quote(path or '.')} in project.deny")


def _try(
    source: Folder, name: str, status: os.stat_result, target: Folder, to: str, shift: Shift
) -> bool:
    """Copy once; False when it has become something else meanwhile."""
    path, item = source.path_of(name), Item(source, name, status)
    try:
        lost = copy_item(item, target.fd(), to, fit(metadata_of(item), shift))
    except PermissionError as error:
        refuse(path, error.strerror or "")
    except OSError as error:
        # ENXIO: it has become a socket.
        if not is_gone(error) and error.errno != errno.ENXIO:
            raise
        return False
    except SubstrateError as error:
        now = source.stat(name)
        if now is not None and seen(now) == seen(status):
            refuse(path, error.message)
        return False
    check_lost(path, lost)
    made = target.stat(to)
    if item.kind != "symlink" and made is not None and made.st_mode != status.st_mode:
        refuse(path, "its mode cannot be kept there")
    return True


def _take_away(target: Folder, name: str) -> None:
    made = target.stat(name)
    if made is None:
        return
    if stat.S_ISDIR(made.st_mode):
        os.rmdir(name, dir_fd=target.fd())
    else:
        os.unlink(name, dir_fd=target.fd())
