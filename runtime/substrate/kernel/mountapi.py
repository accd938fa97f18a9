"""The mount API by descriptors: detached mounts that are nowhere in any tree until attached.

Used by the runtime for what it prepares itself. A detached mount goes away with its descriptor,
so a killed runtime leaves none behind. Sources: open_tree(2), mount_setattr(2), fsopen(2).
"""

from __future__ import annotations

import os
import struct

from substrate.kernel.constants import At, Fsconfig, MountAttr, OpenTree
from substrate.kernel.linux import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def clone_mount(path: str, *, recursive: bool) -> int:
    """Return a descriptor of a detached copy of the mount at `path`, from that directory down."""
    flags = OpenTree.CLONE | OpenTree.CLOEXEC | (At.RECURSIVE if recursive else 0)
    return syscall("open_tree", At.FDCWD, os.fsencode(path), flags)


def set_mount_attributes(
    mount_fd: int, set_: int = 0, clear: int = 0, *, recursive: bool = False,
    idmap_userns_fd: int = -1,
) -> None:  # fmt: skip
    """Change attributes of a mount, and its ids through a user namespace when one is given."""
    if idmap_userns_fd >= 0:
        set_ |= MountAttr.IDMAP
    if not set_ and not clear:
        return
    attributes = struct.pack("=4Q", set_, clear, 0, max(idmap_userns_fd, 0))
    flags = At.EMPTY_PATH | (At.RECURSIVE if recursive else 0)
    syscall("mount_setattr", mount_fd, b"", flags, attributes, len(attributes))


def new_mount(type_: str, data: Iterable[tuple[str, str | None]], attributes: int = 0) -> int:
    """Create a file system and return a descriptor of its detached mount."""
    context = syscall("fsopen", type_.encode(), Fsconfig.FSOPEN_CLOEXEC)
    try:
        for key, value in data:
            if value is None:
                syscall("fsconfig", context, Fsconfig.SET_FLAG, key.encode(), None, 0)
            else:
                raw = os.fsencode(value)
                syscall("fsconfig", context, Fsconfig.SET_STRING, key.encode(), raw, 0)
        syscall("fsconfig", context, Fsconfig.CMD_CREATE, None, None, 0)
        return syscall("fsmount", context, Fsconfig.FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        detail = _context_log(context)
        if detail:
            raise OSError(error.errno, f"{error.strerror} ({detail})") from None
        raise
    finally:
        os.close(context)


def _context_log(context: int) -> str:
    """Return what the file system said about the failure, if it said anything; fsopen(2)."""
    try:
        return os.read(context, 4096).decode(errors="replace").strip().removeprefix("e ")
    except OSError:
        return ""
