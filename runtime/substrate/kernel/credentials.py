"""Changes of this thread's own credentials, by the system calls that glibc would spread to all.

Only short ones that are undone, and those of a forked child. See capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import struct

from substrate.kernel.constants import Pr
from substrate.kernel.linux import syscall

_CAPABILITY_VERSION_3 = 0x20080522


class FilesystemIdentity:
    """Within `with`: this thread acts on files as another uid and gid, with its capabilities.

    An overlay keeps the credentials of who mounts it. Over id-mapped layers these must be ids
    the layers know; mounted as uid 0 of the host it would silently be read-only.
    """

    def __init__(self, uid: int, gid: int) -> None:
        self._ids = uid, gid

    def __enter__(self) -> None:
        uid, gid = self._ids
        syscall("setfsgid", gid)
        syscall("setfsuid", uid)
        # Leaving fsuid 0 takes the file capabilities out of the effective set; capabilities(7).
        _restore_effective_capabilities()

    def __exit__(self, *_details: object) -> None:
        syscall("setfsuid", os.geteuid())
        syscall("setfsgid", os.getegid())


def keep_capabilities_over_execve() -> None:
    """Make every permitted capability inheritable and ambient.

    An ordinary user that owns a user namespace would otherwise lose them in execve, which only
    uid 0 of the namespace keeps.
    """
    sets = _get_sets()
    permitted = sets[1] | sets[4] << 32
    _put_sets((sets[1], sets[1], sets[1], sets[4], sets[4], sets[4]))
    for number in range(permitted.bit_length()):
        if permitted >> number & 1:
            syscall("prctl", Pr.CAP_AMBIENT, Pr.CAP_AMBIENT_RAISE, number, 0, 0)


def _restore_effective_capabilities() -> None:
    sets = _get_sets()
    _put_sets((sets[1], sets[1], sets[2], sets[4], sets[4], sets[5]))


def _get_sets() -> tuple[int, ...]:
    """Return effective, permitted and inheritable, low words, then the high words."""
    sets = ctypes.create_string_buffer(24)
    syscall("capget", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), sets)
    return struct.unpack("=6I", sets.raw)


def _put_sets(words: tuple[int, int, int, int, int, int]) -> None:
    syscall("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", *words))
