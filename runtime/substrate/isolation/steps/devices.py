"""A minimal /dev: device nodes, the links programs expect, and the terminal."""

from __future__ import annotations

import errno
import stat
import struct

from substrate.bundle.mount_options import MountOptions
from substrate.isolation.steps.mounts import set_attributes
from substrate.kernel import messages
from substrate.kernel.constants import At, MountAttr, O, OpenTree, Resolve
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Device
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

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


@record
class OpenTerminal:
    """A new pty of the world's own devpts as standard input, output and error.

    Its master goes to the runtime. `console`: the slave is also bound on /dev/console. `owner`
    and `group` are the payload's ids, which must be able to reopen its terminal.
    """

    size: tuple[int, int] | None
    owner: int
    group: int
    console: bool

    def describe(self) -> str:
        """Say what the step does."""
        return "open a terminal"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        master, slave = plan.cell("pty-master"), plan.cell("pty-slave")
        if not self.console:
            # Who joins a world may have ids the world does not know, and a pty of theirs could
            # not be given away: devpts takes the ids for files (fs/devpts/inode.c).
            plan.call("setfsgid", self.group)
            plan.call("setfsuid", self.owner)
        self._open_master(out, master)
        plan.call("ioctl", master, TIOCSPTLCK, plan.constant(bytes(4)))
        # By descriptor, not by a name under /dev/pts that the payload may have replaced. It
        # fails with ENOTTY if what was opened is no pty.
        plan.call("ioctl", master, TIOCGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC, store=slave)
        if self.size:
            height, width = self.size
            size = plan.constant(struct.pack("=4H", height, width, 0, 0))
            plan.call("ioctl", master, TIOCSWINSZ, size)
        if self.console:
            plan.call("fchown", slave, self.owner, -1 & 0xFFFFFFFF)
        _send_descriptor(out, messages.CONSOLE, master)
        out.close(master)
        if self.console:
            tree = out.new_cell("console")
            flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.EMPTY_PATH
            plan.call("open_tree", slave, plan.text(""), flags, store=tree)
            out.attach(tree, "/dev/console", is_directory=False)
            out.close(tree)
        for standard in (0, 1, 2):
            plan.call("dup3", slave, standard, 0)

    def _open_master(self, out: Lowering, master: Cell) -> None:
        # O_NONBLOCK: a payload may have put a FIFO there; NO_SYMLINKS: or a link.
        flags = O.RDWR | O.NOCTTY | O.NONBLOCK | O.CLOEXEC
        how = out.plan.constant(struct.pack("=3Q", flags, 0, Resolve.IN_ROOT | Resolve.NO_SYMLINKS))
        path = out.plan.text("dev/pts/ptmx")
        out.plan.call("openat2", out.root, path, how, 24, store=master)


@record
class TakeSession:
    """A new session, and the terminal (if there is one) as its controlling terminal."""

    terminal: bool

    def describe(self) -> str:
        """Say what the step does."""
        return "start a new session"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        # EPERM: already a session leader, as pid 1 of a new pid namespace can be.
        out.plan.call("setsid", ignore=(errno.EPERM,))
        if self.terminal:
            out.plan.call("ioctl", 0, TIOCSCTTY, 0)


def device_number(major: int, minor: int) -> int:
    """Return a dev_t as mknod(2) takes it (new_encode_dev of the kernel)."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _send_descriptor(out: Lowering, tag: bytes, descriptor: Cell) -> None:
    plan = out.plan
    body = plan.constant(messages.pack(tag))
    vector = plan.structure(struct.pack("=QQ", 0, messages.SIZE), [(0, body)])
    # SOL_SOCKET, SCM_RIGHTS; the descriptor is copied in from its cell when it is known.
    control = plan.data(_SCM_RIGHTS_HEADER.pack(20, 1, 1) + bytes(8))
    slot = plan.cell_at("pty-master-sent", control.offset + 16)
    # F_DUPFD_CLOEXEC (1030): the one call whose result is stored where we want it.
    plan.call("fcntl", descriptor, 1030, 3, store=slot)
    header = plan.structure(struct.pack("=7Q", 0, 0, 0, 1, 0, 24, 0), [(16, vector), (32, control)])
    plan.call("sendmsg", out.sync, header, 0, expect=messages.SIZE)
    out.close(slot)
