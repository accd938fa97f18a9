"""A minimal /dev: device nodes, the links programs expect, and the terminal."""

from __future__ import annotations

import stat
import struct

from substrate.bundle.mount_options import MountOptions
from substrate.isolation.steps.mounts import set_attributes
from substrate.kernel.constants import At, MountAttr, O
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Device
    from substrate.isolation.lowering import Lowering

# OCI config-linux.md, "Default Devices"; /dev/ptmx and /dev/console are made with the terminal.
DEFAULT_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)
# A device on a read-only mount can still be written to; what it keeps is mode and owner of the
# host's node, which is the payload's own where that is the host's uid 0.
_UNCHANGEABLE = MountOptions(flags_set=MountAttr.RDONLY | MountAttr.NOSUID | MountAttr.NOEXEC)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
TIOCSCTTY, TIOCSPTLCK, TIOCGPTPEER, TIOCSWINSZ = 0x540E, 0x40045431, 0x5441, 0x5414
_SCM_RIGHTS_HEADER = struct.Struct("=QII")


@record
class BindDevice:
    """A device node of the host, bound: in a user namespace none can be made."""

    path: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"bind the device {self.path}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        tree = out.new_cell(self.path)
        out.open_host(self.path, recursive=False, store=tree)
        set_attributes(out, tree, _UNCHANGEABLE)
        out.attach(tree, self.path, is_directory=False)
        out.close(tree)


@record
class MakeDevice:
    """A device node made in the world's own /dev, with mode and owner."""

    device: Device

    def describe(self) -> str:
        """Say what the step does."""
        return f"make the device {self.device.path}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        device, plan = self.device, out.plan
        parent, _, name = device.path.rpartition("/")
        out.make_directory(parent)
        directory, _ = out.open(parent, O.PATH | O.DIRECTORY)
        mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
        text = plan.text(name)
        kind = _TYPES[device.type]
        plan.call(
            "mknodat", directory, text, kind | mode, device_number(device.major, device.minor)
        )
        plan.call("fchownat", directory, text, device.uid, device.gid, At.SYMLINK_NOFOLLOW)
        out.close(directory)


@record
class LinkDevices:
    """/dev/fd, /dev/stdin and the other links; those that are there already stay."""

    def describe(self) -> str:
        """Say what the step does."""
        return "make the links in /dev"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        for path, target in LINKS:
            out.make_symlink(path, target)


def device_number(major: int, minor: int) -> int:
    """Return a dev_t as mknod(2) takes it (new_encode_dev of the kernel)."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
