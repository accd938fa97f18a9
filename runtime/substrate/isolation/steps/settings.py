"""Kernel settings that belong to the world's namespaces: names, sysctls, loopback."""

from __future__ import annotations

import struct

from substrate.kernel.constants import O, Resolve
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering

_AF_INET, _SOCK_DGRAM, _SIOCSIFFLAGS = 2, 2 | O.CLOEXEC, 0x8914
_IFF_UP_RUNNING = 0x41


@record
class SetHostname:
    """The name of the uts namespace."""

    name: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the host name to {self.name}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        raw = self.name.encode()
        out.plan.call("sethostname", out.plan.text(self.name), len(raw))


@record
class SetDomainname:
    """The NIS domain name of the uts namespace."""

    name: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the domain name to {self.name}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        raw = self.name.encode()
        out.plan.call("setdomainname", out.plan.text(self.name), len(raw))


@record
class RaiseLoopback:
    """Set the loopback interface of a new network namespace up."""

    def describe(self) -> str:
        """Say what the step does."""
        return "bring the loopback interface up"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        socket = out.new_cell("socket")
        request = out.plan.constant(struct.pack("=16sH22x", b"lo", _IFF_UP_RUNNING))
        out.plan.call("socket", _AF_INET, _SOCK_DGRAM, 0, store=socket)
        out.plan.call("ioctl", socket, _SIOCSIFFLAGS, request)
        out.close(socket)


@record
class WriteSysctl:
    """One kernel parameter, written below the world's own procfs."""

    key: str
    value: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the sysctl {self.key} to {self.value}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        file = out.new_cell(self.key)
        raw = self.value.encode()
        # Below the descriptor of the procfs just mounted: no symlink, no other mount can stand
        # in for the file (CVE-2019-16884, CVE-2025-52881).
        resolve = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_XDEV
        how = out.plan.constant(struct.pack("=3Q", O.WRONLY | O.CLOEXEC, 0, resolve))
        path = out.plan.text("sys/" + self.key.replace(".", "/"))
        out.plan.call("openat2", out.proc, path, how, 24, store=file)
        out.plan.call("write", file, out.plan.constant(raw), len(raw), expect=len(raw))
        out.close(file)
