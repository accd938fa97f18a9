"""The terminal of a process, and the session it belongs to."""

from __future__ import annotations

import errno
import struct

from substrate.isolation.steps.sending import send_descriptors
from substrate.kernel import messages
from substrate.kernel.constants import At, O, OpenTree, Resolve
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Cell

TIOCSCTTY, TIOCSPTLCK, TIOCGPTPEER, TIOCSWINSZ = 0x540E, 0x40045431, 0x5441, 0x5414
_F_DUPFD_CLOEXEC = 1030


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
        (sent,) = send_descriptors(
            out, messages.CONSOLE, 1,
            # The one call whose result is a descriptor's copy, stored where we want it.
            lambda _, cell: plan.call("fcntl", master, _F_DUPFD_CLOEXEC, 3, store=cell),
        )  # fmt: skip
        out.close(sent)
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
