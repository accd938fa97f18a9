"""Leaving the caller's namespaces for the world's own."""

from __future__ import annotations

import errno
import struct

from substrate.kernel import messages
from substrate.kernel.constants import Clone, O, Pr
from substrate.kernel.plan import LEAVE, RESET
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.isolation.lowering import Lowering
    from substrate.kernel.plan import Pointer

# OCI name: flag of unshare(2) and setns(2)
NAMESPACES = {
    "user": Clone.NEWUSER,
    "pid": Clone.NEWPID,
    "mount": Clone.NEWNS,
    "uts": Clone.NEWUTS,
    "ipc": Clone.NEWIPC,
    "network": Clone.NEWNET,
    "cgroup": Clone.NEWCGROUP,
    "time": Clone.NEWTIME,
}
_SIGCHLD = 17
_NOT_INTO_CGROUP = (errno.EACCES, errno.ENOENT, errno.EINVAL)
_MSG_CMSG_CLOEXEC = 0x40000000


@record
class ResetSignals:
    """Default action for every signal, none blocked."""

    def describe(self) -> str:
        """Say what the step does."""
        return "reset signal handling to the defaults"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("", flags=RESET)


@record
class HideFromPtrace:
    """No longer dumpable: the world's processes can neither trace us nor read our /proc files."""

    def describe(self) -> str:
        """Say what the step does."""
        return "make the setup process untraceable"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("prctl", Pr.SET_DUMPABLE, 0, 0, 0, 0)


@record
class JoinNamespaces:
    """Enter namespaces that exist already: (OCI type, path), in the order given."""

    namespaces: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "join " + ", ".join(f"{name} namespace {path}" for name, path in self.namespaces)

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        for name, _ in self.namespaces:
            out.plan.call("setns", out.plan.input(f"namespace:{name}"), NAMESPACES[name])


@record
class JoinWorld:
    """Enter all namespaces of a running world at once, by its first process's pidfd."""

    names: tuple[str, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "join the world's namespaces"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        # One call: the kernel orders them, the user namespace's rights count for the others.
        flags = sum(NAMESPACES[name] for name in self.names)
        out.plan.call("setns", out.plan.input("world"), flags)


@record
class Unshare:
    """Make new namespaces."""

    names: tuple[str, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return f"make new namespaces ({', '.join(self.names)})"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("unshare", sum(NAMESPACES[name] for name in self.names))


@record
class AwaitRuntime:
    """Tell the runtime where we are and wait for its word, with descriptors if it sends any.

    `mounts` names the detached mounts that come with it.
    """

    tag: bytes
    purpose: str
    mounts: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say what the step does."""
        return f"wait for the runtime to {self.purpose}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        if self.tag:
            send(out, self.tag)
        body = out.plan.data(bytes(messages.SIZE))
        vector = out.plan.structure(struct.pack("=QQ", 0, messages.SIZE), [(0, body)])
        # One control message: struct cmsghdr (16 bytes), then the descriptors.
        control_size = 16 + -(-4 * len(self.mounts) // 8) * 8 if self.mounts else 0
        control = out.plan.data(b"\xff" * max(control_size, 8))
        for index, name in enumerate(self.mounts):
            out.plan.cell_at(f"mount:{name}", control.offset + 16 + 4 * index)
        header = out.plan.structure(
            struct.pack("=QQQQQQQ", 0, 0, 0, 1, 0, control_size, 0),
            [(16, vector), (32, control)] if control_size else [(16, vector)],
        )
        # An end of file (0) means that the runtime is gone; then so are we.
        out.plan.call("recvmsg", out.sync, header, _MSG_CMSG_CLOEXEC, expect=messages.SIZE)


@record
class BecomeMapped:
    """Take the ids the payload's namespace knows us by, with the rights over that namespace."""

    uid: int
    gid: int
    clear_groups: bool

    def describe(self) -> str:
        """Say what the step does."""
        return f"become uid {self.uid}, gid {self.gid} of the new user namespace"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        if self.clear_groups:
            out.plan.call("setgroups", 0, 0)
        # Kept over the change of uid; the privileges step drops them for good.
        out.plan.call("prctl", Pr.SET_KEEPCAPS, 1, 0, 0, 0)
        out.plan.call("setresgid", self.gid, self.gid, self.gid)
        out.plan.call("setresuid", self.uid, self.uid, self.uid)


@record
class ForkIntoPidNamespace:
    """Fork: only a child is in the pid (and time) namespace made or joined before.

    `into_cgroup`: it begins in the cgroup of the plan's input "cgroup", because moving it there
    later takes the kernel 11 ms. Where that is refused (by an older kernel, or across cgroup
    namespaces) it begins in the caller's, and the runtime moves it.
    """

    into_cgroup: bool = False

    def describe(self) -> str:
        """Say what the step does."""
        return "fork into the pid namespace"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        # CLONE_PARENT: the runtime, or whoever adopts its children, is the parent, so it can
        # wait for the world's first process.
        plan = out.plan
        if not self.into_cgroup:
            plan.call("clone3", clone_args(out, Clone.PARENT), 88, flags=LEAVE)
            return
        placed = clone_args(out, Clone.PARENT | Clone.INTO_CGROUP)
        plan.input_at("cgroup", placed.offset + 80)
        tried = plan.call("clone3", placed, 88, flags=LEAVE, ignore=_NOT_INTO_CGROUP)
        done = plan.jump()
        plan.skip_to_here(tried)
        plan.call("clone3", clone_args(out, Clone.PARENT), 88, flags=LEAVE)
        plan.skip_to_here(done)


@record
class SetTimeOffsets:
    """Offsets of the clocks of a new time namespace: (clock, seconds, nanoseconds)."""

    offsets: tuple[tuple[str, int, int], ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "set the offsets of the time namespace"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        file = out.new_cell("timens_offsets")
        path = out.plan.text("/proc/self/timens_offsets")
        out.plan.call("openat", -100, path, O.WRONLY | O.CLOEXEC, 0, store=file)
        for clock, seconds, nanoseconds in self.offsets:
            line = f"{clock} {seconds} {nanoseconds}\n".encode()
            out.plan.call("write", file, out.plan.constant(line), len(line), expect=len(line))
        out.close(file)


@record
class JoinSessionKeyring:
    """A new, empty session keyring instead of the caller's (which may hold secrets)."""

    def describe(self) -> str:
        """Say what the step does."""
        return "make a new session keyring"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("keyctl", 1, 0, 0, 0, 0, ignore=(errno.ENOSYS,))


def send(out: Lowering, tag: bytes) -> None:
    """Send a message without content to the runtime."""
    message = out.plan.constant(messages.pack(tag))
    out.plan.call("write", out.sync, message, messages.SIZE, expect=messages.SIZE)


def clone_args(out: Lowering, flags: int) -> Pointer:
    """Place a `struct clone_args` (88 bytes, version 2) for a plain fork with these flags."""
    # CLONE_PARENT forbids an exit signal of one's own: the caller's is inherited.
    signal = 0 if flags & Clone.PARENT else _SIGCHLD
    return out.plan.data(struct.pack("=11Q", flags, 0, 0, 0, signal, 0, 0, 0, 0, 0, 0))
