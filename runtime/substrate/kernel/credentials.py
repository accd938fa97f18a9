"""Changes of the credentials of a forked child; see capabilities(7)."""

from __future__ import annotations

import ctypes
import struct

from substrate.kernel.constants import Pr
from substrate.kernel.linux import syscall

_CAPABILITY_VERSION_3 = 0x20080522


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


def _get_sets() -> tuple[int, ...]:
    """Return effective, permitted and inheritable, low words, then the high words."""
    sets = ctypes.create_string_buffer(24)
    syscall("capget", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), sets)
    return struct.unpack("=6I", sets.raw)


def _put_sets(words: tuple[int, int, int, int, int, int]) -> None:
    syscall("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", *words))
