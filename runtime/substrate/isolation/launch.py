"""The runtime's side: spawn the plan's process, answer it, and undo everything if it fails.

The messages and their order are in `kernel/messages.py`. The runtime itself enters no namespace
and makes no mount that anybody could see.
"""

from __future__ import annotations

import _socket
import errno
import os

from substrate.errors import (
    CannotExecuteError,
    CommandNotFoundError,
    StepError,
    SubstrateError,
    UnsupportedError,
)
from substrate.isolation.lowering import Lowering, lower_all
from substrate.isolation.prepare import PreparedMounts
from substrate.isolation.sequence import create_sequence, has_creation_hooks
from substrate.isolation.steps.process import GATE_DESCRIPTION
from substrate.kernel import messages, procfs
from substrate.kernel.spawn import spawn
from substrate.kernel.syscalls import NAMES
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import Identity, WorldSpec
    from substrate.kernel.plan import Plan

_MSG_CMSG_CLOEXEC = 0x40000000
_EXEC_LABEL = "execute "
# Long enough for any host under load; a plan that says nothing for so long hangs in the kernel.
ANSWER_TIMEOUT_S = 120.0


def compile_plan(steps: Iterable[Step]) -> Plan:
    """Write the steps into a plan."""
    out = Lowering()
    lower_all(list(steps), out)
    return out.plan.finish()


class Conversation:
    """A spawned plan and the socket it talks on. The caller ends it with `close`."""

    def __init__(self, plan: Plan, inputs: dict[str, int], executor: str, keep: int = 0) -> None:
        self.plan = plan
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._socket = ours
        ours.settimeout(ANSWER_TIMEOUT_S)
        try:
            self.spawned = spawn(
                plan, inputs | {"sync": theirs.fileno()}, executor, range(3, 3 + keep)
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self.spawned

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def expect(self, tag: bytes) -> int:
        """Wait for a message and return its value; raises what failed when that comes instead."""
        return self._receive(tag)[0]

    def expect_descriptor(self, tag: bytes) -> int:
        """Wait for a message that carries a descriptor, and return the descriptor."""
        _, fds = self._receive(tag)
        if len(fds) != 1:
            message = f"the setup process sent {len(fds)} descriptors instead of one"
            raise StepError(message)
        return fds[0]

    def go(self, descriptors: Iterable[int] = ()) -> None:
        """Let the plan go on, with descriptors if it waits for any."""
        fds = b"".join(fd.to_bytes(4, "little") for fd in descriptors)
        control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)] if fds else []
        try:
            self._socket.sendmsg([messages.pack(messages.GO)], control)
        except (BrokenPipeError, ConnectionResetError):
            # It failed before it read this; its report, if any, says why.
            self._receive(messages.GO)

    def follow_fork(self) -> None:
        """Learn the pid of the process that goes on, and reap the one that forked it."""
        self.pid = self.expect(messages.PID)
        os.waitpid(self.spawned, 0)
        self.spawned = self.pid

    def wait_for_exec(self) -> None:
        """Wait until execve has succeeded, which closes the plan's end; raises if it failed."""
        raw = self._read(8)[0]
        if raw:
            self._judge(raw, b"")

    def _receive(self, tag: bytes) -> tuple[int, list[int]]:
        raw, control = self._read(messages.SIZE)
        fds = [
            int.from_bytes(data[at : at + 4], "little")
            for level, kind, data in control
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
            for at in range(0, len(data) - len(data) % 4, 4)
        ]
        try:
            return self._judge(raw, tag), fds
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def _read(self, size: int) -> tuple[bytes, list[tuple[int, int, bytes]]]:
        try:
            raw, control, _, _ = self._socket.recvmsg(size, 64, _MSG_CMSG_CLOEXEC)
        except TimeoutError:
            message = f"the setup process has not answered for {ANSWER_TIMEOUT_S:.0f} s"
            raise StepError(message, f"see /proc/{self.pid}/stack for where it waits") from None
        except ConnectionResetError:
            return b"", []
        return raw, control

    def _judge(self, raw: bytes, tag: bytes) -> int:
        if not raw:
            message = "the setup process ended without a word"
            raise StepError(message, "was it killed? see the kernel log for out-of-memory kills")
        got, value = messages.unpack(raw)
        if got == messages.ERROR:
            raise step_error(self.plan, value)
        if got != tag:
            message = f"the setup process said {got!r} instead of {tag!r}"
            raise StepError(message)
        return value


def step_error(plan: Plan, value: int) -> SubstrateError:
    """Return the error for an ERROR message: the step, the system call, what the kernel said."""
    index, number = messages.error_parts(value)
    op = plan.ops[index]
    return failure(plan.steps[op.step], NAMES.get(op.number, ""), number)


def steps_after_gate(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return op index -> (step, system call) of what `start` lets run, to explain its failures.

    `start` is another process, and has no plan.
    """
    first = next(
        index for index, op in enumerate(plan.ops) if plan.steps[op.step] == GATE_DESCRIPTION
    )
    return {
        str(index): (plan.steps[op.step], NAMES.get(op.number, ""))
        for index, op in enumerate(plan.ops[first:], first)
    }


def failure(step: str, call: str, number: int) -> SubstrateError:
    """Return the error for a step whose system call failed with an errno."""
    text = os.strerror(number).lower()
    if step.startswith(_EXEC_LABEL):
        program = step.removeprefix(_EXEC_LABEL)
        if number in (errno.ENOENT, errno.ENOTDIR):
            message = f"cannot {step}: executable file not found in the world: {text}"
            return CommandNotFoundError(message, f"is {program} installed in it?", number)
        return CannotExecuteError(f"cannot {step}: {text}", "", number)
    if number == errno.EPROTO:
        text = "the other side is gone, or the kernel did only a part"
    message = f"cannot {step}: {call}: {text}"
    if number == errno.ENOSYS:
        return UnsupportedError(message, f"this kernel lacks {call}; see `substrate doctor`")
    return StepError(message, _hint(step, call, number), number)


def _hint(step: str, call: str, number: int) -> str:
    if call == "unshare" and number == errno.EPERM:
        return "user namespaces may be disabled: sysctl user.max_user_namespaces"
    if call == "unshare" and number == errno.ENOSPC:
        return "too many namespaces: sysctl -a | grep user.max_"
    if call == "setgroups" or (step.startswith("become ") and number == errno.EINVAL):
        return "the user or group is not in the id map; see linux.uidMappings"
    if call == "openat2" and number in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
        return "a symbolic link on the way may lead nowhere inside the root file system"
    if call == "fsmount" and step.startswith("mount proc"):
        return "the caller's own /proc is covered in part; see mount_namespaces(7)"
    return ""


@record
class Launched:
    """A world at its gate: `master_fd` is the pty master or -1; both are the caller's.

    `unmapped` are the sources that show as nobody's, see `PreparedMounts`.
    """

    talk: Conversation
    master_fd: int
    unmapped: tuple[str, ...]


def launch(
    spec: WorldSpec,
    inputs: dict[str, int],
    executor: str,
    on_pid: Callable[[int], None],
    on_mounted: Callable[[], None],
) -> Launched:
    """Make the world up to its gate.

    `on_pid` is called with the world's first pid before anything that outlives the runtime is
    made; `on_mounted` where the creation hooks belong. On failure the process is killed and
    reaped, and the error raised.
    """
    plan = compile_plan(create_sequence(spec))
    talk = Conversation(plan, inputs, executor, spec.preserve_fds)
    master = -1
    unmapped: list[str] = []
    try:
        if "user" in spec.new_namespaces:
            talk.expect(messages.USER)
            unmapped = _give_identity(spec, talk)
        if spec.forks:
            talk.follow_fork()
        on_pid(talk.pid)
        _set_oom_score(spec, talk.pid)
        talk.go()
        if has_creation_hooks(spec):
            talk.expect(messages.MOUNTED)
            on_mounted()
            talk.go()
        if spec.process is not None and spec.process.terminal:
            master = talk.expect_descriptor(messages.CONSOLE)
        talk.expect(messages.READY)
    except BaseException:
        if master >= 0:
            os.close(master)
        end(talk)
        raise
    return Launched(talk, master, tuple(unmapped))


def end(talk: Conversation) -> None:
    """Kill and reap the processes of a conversation."""
    talk.close()
    for pid in {talk.spawned, talk.pid}:
        # Children of this process, so neither pid can be anybody else's before it is reaped.
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def _give_identity(spec: WorldSpec, talk: Conversation) -> list[str]:
    """Write the id maps and send the mounts; return the sources that could not be id-mapped."""
    if spec.identity is None:
        message = "the user namespace has no id maps"
        raise StepError(message)
    write_id_maps(talk.pid, spec.identity)
    if not spec.mounts_from_runtime:
        talk.go()
        return []
    userns_fd = os.open(f"/proc/{talk.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mounts = PreparedMounts(spec, userns_fd)
    except OSError as error:
        message = f"cannot prepare the mounts of the world: {error.strerror}"
        raise StepError(message, errno=error.errno or 0) from error
    finally:
        os.close(userns_fd)
    try:
        talk.go(mounts.fds)
    finally:
        mounts.close()
    return mounts.unmapped


def write_id_maps(pid: int, identity: Identity) -> None:
    """Write the id maps of a new user namespace."""
    uid_map = [(line.container_id, line.host_id, line.size) for line in identity.uid_map]
    gid_map = [(line.container_id, line.host_id, line.size) for line in identity.gid_map]
    try:
        if identity.helpers:
            from substrate.kernel.tools import write_maps_by_helper

            write_maps_by_helper(pid, uid_map, gid_map)
            return
        if not identity.may_set_groups:
            # Demanded before an unprivileged gid map; user_namespaces(7).
            procfs.write_process_file(pid, "setgroups", "deny")
        procfs.write_process_file(pid, "uid_map", procfs.map_lines(uid_map))
        procfs.write_process_file(pid, "gid_map", procfs.map_lines(gid_map))
    except OSError as error:
        message = f"cannot write the id maps: {error.strerror}"
        hint = "an ordinary user may map the ids of /etc/subuid and /etc/subgid"
        raise StepError(message, hint, error.errno or 0) from None


def _set_oom_score(spec: WorldSpec, pid: int) -> None:
    process = spec.process
    if process is None or process.oom_score_adj is None:
        return
    try:
        procfs.write_process_file(pid, "oom_score_adj", str(process.oom_score_adj))
    except PermissionError:
        message = f"cannot set oomScoreAdj to {process.oom_score_adj}: permission denied"
        hint = "lowering it needs CAP_SYS_RESOURCE; remove $.process.oomScoreAdj"
        raise UnsupportedError(message, hint) from None
