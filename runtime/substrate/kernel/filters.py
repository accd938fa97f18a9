"""Seccomp as the kernel and libseccomp know it: system call numbers, and loading a filter.

The only place that imports pyseccomp. The filter itself is written by `seccomp/`: libseccomp
mistranslates rules on several arguments (docs/decisions/0003-seccomp-filters.md).
"""

from __future__ import annotations

import ctypes

from substrate.errors import DependencyError
from substrate.kernel.constants import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Not in kernel/syscalls.py: a filter is loaded here only outside of a plan, on any machine.
_UNKNOWN = -1


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def native_architecture() -> int:
    """Return libseccomp's token of the architecture this process runs as."""
    return int(_libseccomp().system_arch())


def syscall_number(architecture: int, name: str) -> int | None:
    """Return the number of a system call, None when libseccomp has never heard of the name.

    `architecture` is libseccomp's token (AUDIT_ARCH_*; x32 has one of its own). Numbers below -1
    are libseccomp's pseudo numbers: the call exists, but not on this architecture, or on x86 only
    through `socketcall` (-100 - n) or `ipc` (-200 - n); seccomp_syscall_resolve_name(3).
    """
    number = int(_libseccomp().resolve_syscall(architecture, name))
    return None if number == _UNKNOWN else number


def load_filter(bpf: bytes, flags: int) -> None:
    """Load a filter into the calling thread, for ever; seccomp(2).

    Needs no_new_privs or CAP_SYS_ADMIN. Raises OSError.
    """
    from substrate.kernel.linux import syscall

    program = _SockFprog(len(bpf) // 8, bpf)
    syscall("seccomp", Seccomp.SET_MODE_FILTER, flags, ctypes.addressof(program))


def _libseccomp() -> Any:
    # Late: the module looks for the library when it is imported, and forks ldconfig to do so.
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        message = f"loading libseccomp: {error}"
        raise DependencyError(message, hint="apt-get install libseccomp2") from error
    return pyseccomp
