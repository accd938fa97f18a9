"""Locking mounts against the world that will get them.

A mount's flags and its cover over what is below are locked only when a mount namespace is copied
into a less privileged user namespace (mount_namespaces(7); lock_mnt_tree() in fs/namespace.c):
not when a detached mount is attached there. So the prepared mounts make one such passage, in a
short-lived process, and come out as copies that keep their locks wherever they are attached. A
payload with CAP_SYS_ADMIN in its user namespace could otherwise remount /usr writable.
"""

from __future__ import annotations

import struct

from substrate.isolation.steps.mounts import new_filesystem
from substrate.kernel import messages
from substrate.kernel.constants import At, Clone, MoveMount, Ms, OpenTree
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.isolation.lowering import Lowering, Step

_S_IFREG = 0o100000


@record
class StageMounts:
    """Attach the mounts side by side in a mount namespace of the runtime's own rights.

    `directories` says of each whether it is a directory.
    """

    directories: tuple[bool, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "stage the prepared mounts"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        plan.call("unshare", Clone.NEWNS)
        plan.call("mount", 0, plan.text("/"), 0, Ms.REC | Ms.PRIVATE, 0)
        stage = out.new_cell("stage")
        new_filesystem(out, "tmpfs", None, (("mode", "755"),), stage)
        empty = plan.text("")
        plan.call("move_mount", stage, empty, At.FDCWD, plan.text("/"), MoveMount.F_EMPTY_PATH)
        for number, is_directory in enumerate(self.directories):
            name = plan.text(str(number))
            if is_directory:
                plan.call("mkdirat", stage, name, 0o755)
            else:
                plan.call("mknodat", stage, name, _S_IFREG | 0o644, 0)
            mount = plan.input(f"mount{number}")
            plan.call("move_mount", mount, empty, stage, name, MoveMount.F_EMPTY_PATH)
        # The working directory is what the copy of the namespace takes along.
        plan.call("fchdir", stage)


@record
class PassIntoUserNamespace:
    """Copy the mount namespace into the world's user namespace, which locks every mount."""

    def describe(self) -> str:
        """Say what the step does."""
        return "lock the mounts against the world"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("setns", out.plan.input("userns"), Clone.NEWUSER)
        out.plan.call("unshare", Clone.NEWNS)


@record
class ReturnMounts:
    """Send copies of the now locked mounts to the runtime."""

    count: int

    def describe(self) -> str:
        """Say what the step does."""
        return "return the locked mounts"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        body = plan.constant(messages.pack(messages.READY))
        vector = plan.structure(struct.pack("=QQ", 0, messages.SIZE), [(0, body)])
        size = 16 + 4 * self.count
        control = plan.data(struct.pack("=QII", size, 1, 1) + bytes(4 * self.count + 4))
        flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.RECURSIVE
        for number in range(self.count):
            # Straight into its place in the control message.
            copy = plan.cell_at(f"copy{number}", control.offset + 16 + 4 * number)
            plan.call("open_tree", At.FDCWD, plan.text(str(number)), flags, store=copy)
        header = plan.structure(
            struct.pack("=7Q", 0, 0, 0, 1, 0, -(-size // 8) * 8, 0), [(16, vector), (32, control)]
        )
        plan.call("sendmsg", out.sync, header, 0, expect=messages.SIZE)


def locking_sequence(directories: tuple[bool, ...]) -> Iterator[Step]:
    """Yield the steps that lock prepared mounts against the world they are for."""
    yield StageMounts(directories)
    yield PassIntoUserNamespace()
    yield ReturnMounts(len(directories))
