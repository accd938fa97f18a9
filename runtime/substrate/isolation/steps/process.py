"""What the payload's process is: limits, ids, capabilities, and the last steps before execve."""

from __future__ import annotations

import errno
import os
import struct

from substrate.isolation.steps.namespaces import clone_args, send
from substrate.kernel import messages
from substrate.kernel.capabilities import CAPABILITIES, capability_mask
from substrate.kernel.constants import At, O, Pr, Seccomp
from substrate.kernel.plan import FAIL, IDLE, REAP, TRY
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.isolation.lowering import Lowering

RLIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip
PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
SCHEDULERS = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8, "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_CAPABILITY_VERSION_3 = 0x20080522
EXECUTE = "execute "
GATE_DESCRIPTION = "wait for the start of the world"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@record
class HandOver:
    """Where the Python executor gives the plan to world-init, which needs no host file."""

    def describe(self) -> str:
        """Say what the step does."""
        return "hand over to world-init"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.hand_over()


@record
class TakeInput:
    """Standard input from the plan's input "stdin" (the state that a hook reads)."""

    def describe(self) -> str:
        """Say what the step does."""
        return "take the standard input"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("dup3", out.plan.input("stdin"), 0, 0)


@record
class TakeOutput:
    """Standard output and error from the plan's inputs "stdout" and "stderr", to be relayed."""

    def describe(self) -> str:
        """Say what the step does."""
        return "take the output and error that are relayed"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("dup3", out.plan.input("stdout"), 1, 0)
        out.plan.call("dup3", out.plan.input("stderr"), 2, 0)


@record
class GiveDescriptors:
    """The payload's own descriptors, each from the plan's input "fd<number>"."""

    numbers: tuple[int, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "give the program its descriptors"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        for number in self.numbers:
            out.plan.call("dup3", out.plan.input(f"fd{number}"), number, 0)


@record
class EnterOldRoot:
    """Back to the root of before the world's: the plan's input "root"."""

    def describe(self) -> str:
        """Say what the step does."""
        return "enter the host's root directory"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("fchdir", out.plan.input("root"))
        out.plan.call("chroot", out.plan.text("."))


@record
class OpenRoot:
    """The world's root as this process, which has joined it, sees it."""

    def describe(self) -> str:
        """Say what the step does."""
        return "open the root directory"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        flags = O.PATH | O.DIRECTORY | O.CLOEXEC
        out.plan.call("openat", At.FDCWD, out.plan.text("/"), flags, store=out.root)


@record
class SetRlimit:
    """One resource limit."""

    type: str
    soft: int
    hard: int

    def describe(self) -> str:
        """Say what the step does."""
        return f"set {self.type} to {self.soft}:{self.hard}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        limit = out.plan.constant(struct.pack("=QQ", self.soft, self.hard))
        out.plan.call("prlimit64", 0, RLIMITS[self.type], limit, 0)


@record
class SetScheduler:
    """Scheduling policy (sched_setattr(2)); times in nanoseconds."""

    policy: str
    flags: tuple[str, ...]
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the scheduling policy to {self.policy}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        flags = sum(SCHEDULER_FLAGS[name] for name in self.flags)
        attributes = struct.pack(
            "=IIQiIQQQ", 48, SCHEDULERS[self.policy], flags, self.nice, self.priority,
            self.runtime, self.deadline, self.period,
        )  # fmt: skip
        out.plan.call("sched_setattr", 0, out.plan.constant(attributes), 0)


@record
class SetIoPriority:
    """I/O priority (ioprio_set(2))."""

    class_: str
    priority: int

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the I/O priority to {self.class_}:{self.priority}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("ioprio_set", 1, 0, _IO_CLASSES[self.class_] << 13 | self.priority)


@record
class SetPersonality:
    """The execution domain (personality(2))."""

    domain: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the personality to {self.domain}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("personality", PERSONALITIES[self.domain])


@record
class EnterDirectory:
    """The payload's working directory, as the payload's user may reach it."""

    path: str

    def describe(self) -> str:
        """Say what the step does."""
        return f"change to the working directory {self.path}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        # Opened beneath "/" and entered by descriptor: a directory outside the root, reached
        # through a leaked descriptor, cannot be it (CVE-2024-21626).
        root, directory = out.new_cell("/"), out.new_cell(self.path)
        flags = O.PATH | O.DIRECTORY | O.CLOEXEC
        out.plan.call("openat", At.FDCWD, out.plan.text("/"), flags, store=root)
        how = out.plan.constant(struct.pack("=3Q", flags, 0, 0x10 | 0x02))
        path = out.plan.text(self.path.lstrip("/") or ".")
        out.plan.call("openat2", root, path, how, 24, store=directory)
        out.plan.call("fchdir", directory)
        out.close(directory)
        out.close(root)


@record
class DropBoundingSet:
    """Drop every capability from the bounding set but these."""

    keep: tuple[str, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "drop capabilities from the bounding set"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        for name, number in CAPABILITIES.items():
            if name not in self.keep:
                # EINVAL: a capability this kernel does not know yet.
                out.plan.call("prctl", Pr.CAPBSET_DROP, number, 0, 0, 0, ignore=(errno.EINVAL,))


@record
class BecomeUser:
    """Supplementary groups, gid, uid; capabilities are kept for the steps that set them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    may_set_groups: bool

    def describe(self) -> str:
        """Say what the step does."""
        return f"become uid {self.uid}, gid {self.gid}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("prctl", Pr.SET_KEEPCAPS, 1, 0, 0, 0)
        if self.may_set_groups:
            groups = struct.pack(f"={len(self.groups)}I", *self.groups) or bytes(4)
            out.plan.call("setgroups", len(self.groups), out.plan.constant(groups))
        out.plan.call("setresgid", self.gid, self.gid, self.gid)
        out.plan.call("setresuid", self.uid, self.uid, self.uid)


@record
class SetCapabilities:
    """The permitted, effective, inheritable and ambient sets."""

    permitted: tuple[str, ...]
    effective: tuple[str, ...]
    inheritable: tuple[str, ...]
    ambient: tuple[str, ...]

    def describe(self) -> str:
        """Say what the step does."""
        return "set the capabilities"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("prctl", Pr.CAP_AMBIENT, Pr.CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        header = out.plan.data(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
        sets = [
            capability_mask(names) for names in (self.effective, self.permitted, self.inheritable)
        ]
        words = [bits >> shift & 0xFFFFFFFF for shift in (0, 32) for bits in sets]
        out.plan.call("capset", header, out.plan.constant(struct.pack("=6I", *words)))
        for name in self.ambient:
            if name not in self.permitted or name not in self.inheritable:
                continue  # recorded as degraded where the world is resolved
            number = CAPABILITIES[name]
            out.plan.call("prctl", Pr.CAP_AMBIENT, Pr.CAP_AMBIENT_RAISE, number, 0, 0)


@record
class SetNoNewPrivs:
    """No execve grants privileges any more (prctl(2), PR_SET_NO_NEW_PRIVS)."""

    def describe(self) -> str:
        """Say what the step does."""
        return "set no_new_privs"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("prctl", Pr.SET_NO_NEW_PRIVS, 1, 0, 0, 0)


@record
class SetUmask:
    """The file mode creation mask."""

    mask: int

    def describe(self) -> str:
        """Say what the step does."""
        return f"set the umask to {self.mask:04o}"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        out.plan.call("umask", self.mask)


@record
class LeaveReaper:
    """Fork the payload; pid 1 stays as the reaping init. Without a payload it only reaps."""

    has_payload: bool

    def describe(self) -> str:
        """Say what the step does."""
        return "leave a reaping init as pid 1"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        if self.has_payload:
            out.plan.call("clone3", clone_args(out, 0), 88, flags=REAP)
        else:
            out.plan.call("", flags=IDLE)


@record
class WaitAtGate:
    """Say that the world is ready, and wait for `start`.

    On the runtime's socket, or, when `create` and `start` are different processes, on a listening
    socket; failures from here on are reported to whoever connected.
    """

    listening: bool

    def describe(self) -> str:
        """Say what the step does."""
        return GATE_DESCRIPTION

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        plan = out.plan
        send(out, messages.READY)
        word = plan.data(bytes(messages.SIZE))
        if self.listening:
            # The runtime's end goes away now; the new connection takes its cell, and with it
            # the reports. Closed by execve, which tells `start` that it succeeded.
            gate = plan.input("gate")
            plan.call("accept4", gate, 0, 0, O.CLOEXEC, store=plan.cell("connection"))
            plan.call("dup3", plan.cell("connection"), out.sync, O.CLOEXEC)
            out.close(plan.cell("connection"))
            out.close(gate)
        plan.call("read", out.sync, word, messages.SIZE, expect=messages.SIZE)


@record
class CloseDescriptors:
    """No descriptor of the runtime's survives execve, beyond those asked to be preserved."""

    first: int

    def describe(self) -> str:
        """Say what the step does."""
        return "close inherited descriptors"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        # CLOSE_RANGE_CLOEXEC (4): the sync socket must live until execve succeeds.
        out.plan.call("close_range", self.first, 0xFFFFFFFF, 4)


@record
class LoadSeccomp:
    """The system call filter; `bpf` is an array of struct sock_filter."""

    bpf: bytes
    flags: int

    def describe(self) -> str:
        """Say what the step does."""
        return f"load the seccomp filter ({len(self.bpf) // 8} instructions)"

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        program = out.plan.constant(self.bpf)
        fprog = out.plan.structure(struct.pack("=HxxxxxxQ", len(self.bpf) // 8, 0), [(8, program)])
        # Before: no_new_privs, or loading would need CAP_SYS_ADMIN, which is gone; seccomp(2).
        out.plan.call("seccomp", Seccomp.SET_MODE_FILTER, self.flags, fprog, expect=0)


@record
class Execute:
    """Become the payload; a name without a slash is looked up in the payload's PATH."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    path: str | None = None

    def describe(self) -> str:
        """Say what the step does."""
        return EXECUTE + (self.path or self.args[0])

    def lower(self, out: Lowering) -> None:
        """Append the system calls."""
        argv, env = out.plan.string_array(self.args), out.plan.string_array(self.env)
        for candidate in [self.path] if self.path else candidates(self.args[0], self.env):
            out.plan.call("execve", out.plan.text(candidate), argv, env, flags=TRY)
        out.plan.call("", flags=FAIL)


def candidates(program: str, env: Iterable[str]) -> list[str]:
    """Return the paths execvp(3) would try for a program, in order."""
    if "/" in program or not program:
        return [program]
    path = _DEFAULT_PATH
    for entry in env:
        if entry.startswith("PATH="):
            path = entry[5:]
    return [os.path.join(directory or ".", program) for directory in path.split(":")]
