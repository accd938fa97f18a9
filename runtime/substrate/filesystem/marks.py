"""The extended attributes an overlay writes for itself, and those it shows to people.

Kernel: Documentation/filesystems/overlayfs.rst, fs/overlayfs/overlayfs.h.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Folder

# ENOTSUP: the file system keeps no attributes for this kind of file. ENODATA: gone meanwhile.
_NO_ATTRIBUTES = (
    errno.ENOTSUP,
    errno.ENODATA,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
)
# struct ovl_fb: version, magic, length, flags, type, uuid[16], then the file handle.
_HANDLE_START = 21


class Marks:
    """What the overlay noted about one entry of the upper directory."""

    __slots__ = ("_prefix", "metacopy", "names", "opaque", "others", "redirect")
    # Whether `names` are those of all its attributes.
    listed = True

    def __init__(
        self, where: str | int, prefix: str, *, follow: bool, names: list[str] | None = None
    ) -> None:
        """Read the marks of a path or descriptor; `follow`: redirect and metacopy count.

        With the mount option `userxattr` the kernel follows neither, so there such an attribute
        means nothing. `others`: whether there are attributes that are not the overlay's own.
        `names`: all attributes, where they have been listed before.
        """
        self._prefix = prefix
        if names is None:
            names = _list(where)
        self.names = names
        self.opaque = self.redirect = ""
        self.metacopy = self.others = False
        for name in names:
            if not name.startswith(prefix):
                self.others = True
                continue
            word = name[len(prefix) :]
            if word == "opaque":
                self.opaque = _text(where, name)
            elif word.startswith("overlay."):
                self.others = True
            elif follow and word == "metacopy":
                self.metacopy = True
            elif follow and word == "redirect":
                self.redirect = _text(where, name)

    @property
    def impure(self) -> bool:
        """Whether a directory may hold entries that came from the lower directory."""
        return self._prefix + "impure" in self.names

    @property
    def indexed(self) -> bool:
        """Whether the file is the one copy of a lower file with several names."""
        return self._prefix + "nlink" in self.names

    @property
    def whiteout(self) -> bool:
        """Whether an empty file stands for "not here" (in a directory with opaque `x`)."""
        return self._prefix + "whiteout" in self.names

    @property
    def copied_up(self) -> bool:
        """Whether the overlay made this as a copy of something below."""
        return self._prefix + "origin" in self.names


def origin_inode(folder: Folder, name: str, prefix: str) -> int:
    """Return the inode number of the lower file an entry was copied from, 0 when unknown."""
    return inode_of_handle(attribute(folder, name, prefix + "origin") or b"")


def attribute(folder: Folder, name: str, key: str) -> bytes | None:
    """Return one extended attribute of an entry, None when it has none of that name."""
    return _get(folder.proc_path(name), key)


def inode_of_handle(value: bytes) -> int:
    """Return the inode number in an `overlay.origin` value, 0 when its layout is not known.

    The layouts are those of include/linux/exportfs.h: ext4 and xfs with 32 bits, tmpfs, btrfs,
    xfs with 64 bits. Bit 0 of the flags says big endian, bit 1 "any".
    """
    if len(value) <= _HANDLE_START or value[0] != 0 or value[1] != 0xFB or value[3] & 1:
        return 0
    kind, handle = value[4], value[_HANDLE_START:]
    if kind in {0x01, 0x02} and len(handle) in {8, 16}:
        return int.from_bytes(handle[0:4], "little")
    if kind == 0x01 and len(handle) == 12:
        return int.from_bytes(handle[4:12], "little")
    if kind in {0x4D, 0x4E, 0x4F, 0x81, 0x82} and len(handle) >= 12:
        return int.from_bytes(handle[0:8], "little")
    return 0


def visible_attributes(
    where: str | int, prefix: str, names: list[str] | None = None
) -> dict[str, bytes]:
    """Return the attributes a process in the world sees on a path or descriptor.

    An overlay hides its own and unescapes those of an overlay inside it; here both keep their
    stored names, which is the same for comparing two of them. `names`: all that there are, where
    they have been listed before.
    """
    found: dict[str, bytes] = {}
    for key in _list(where) if names is None else names:
        if key.startswith(prefix) and not key.startswith(prefix + "overlay."):
            continue
        found[key] = _get(where, key) or b""
    return found


def _text(where: str | int, key: str) -> str:
    return os.fsdecode(_get(where, key) or b"")


def _list(where: str | int) -> list[str]:
    try:
        if isinstance(where, int):
            return os.listxattr(where)
        return os.listxattr(where, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return []
        raise


def _get(where: str | int, key: str) -> bytes | None:
    try:
        if isinstance(where, int):
            return os.getxattr(where, key)
        return os.getxattr(where, key, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return None
        raise
