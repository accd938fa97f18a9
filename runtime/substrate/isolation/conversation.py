"""A spawned plan and the socket it talks on; the messages are in `kernel/messages.py`."""

from __future__ import annotations

import _socket
import fcntl
import os

from substrate.errors import StepError
from substrate.isolation.lowering import Lowering, lower_all
from substrate.kernel import messages
from substrate.kernel.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from substrate.isolation.lowering import Step
    from substrate.kernel.plan import Plan

    Control = list[tuple[int, int, bytes]]
    Message = tuple[bytes, Control]

# Descriptors that a program is given by number have smaller ones; inputs for it this or more.
LOWEST_INPUT = 40

_MSG_CMSG_CLOEXEC = 0x40000000
# SCM_MAX_FD (253) descriptors and their header.
_LARGEST_CONTROL = 16 + 4 * 253


def compile_plan(steps: Iterable[Step], *, timed: bool = False) -> Plan:
    """Write the steps into a plan; a timed one has the input `timing.INPUT`."""
    out = Lowering()
    if timed:
        from substrate.isolation.timing import lower_timed

        lower_timed(steps, out)
    else:
        lower_all(steps, out)
    return out.plan.finish()


class Conversation:
    """A spawned plan and the socket it talks on. The caller ends it with `close`."""

    def __init__(self, plan: Plan, inputs: dict[str, int], executor: str, keep: int = 0) -> None:
        self.plan = plan
        self._early: list[Message] = []
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._socket = ours
        ours.settimeout(messages.ANSWER_TIMEOUT_S)
        # Out of the way of the numbers that a program is given.
        sync_fd = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, LOWEST_INPUT)
        theirs.close()
        try:
            self.spawned = spawn(plan, inputs | {"sync": sync_fd}, executor, range(3, 3 + keep))
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(sync_fd)
        self.pid = self.spawned
        self._goes_ahead = False

    def close(self) -> None:
        """Close the socket, and descriptors that came and were not asked for."""
        self._socket.close()
        for _, control in self._early:
            for fd in _descriptors_in(control):
                os.close(fd)
        self._early.clear()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def expect(self, tag: bytes) -> int:
        """Wait for a message and return its value; raises what failed when that comes instead."""
        return self._receive(tag)[0]

    def expect_descriptors(self, tag: bytes, count: int) -> list[int]:
        """Wait for a message that carries descriptors, and return them."""
        return self._descriptors(*self._read(messages.SIZE), tag, count)

    def _descriptors(self, raw: bytes, control: Control, tag: bytes, count: int) -> list[int]:
        _, fds = self._take(raw, control, tag)
        if len(fds) != count:
            for fd in fds:
                os.close(fd)
            message = f"the setup process sent {len(fds)} descriptors instead of {count}"
            raise StepError(message, "raise the limit of open files: ulimit -n")
        return fds

    def expect_mounts(self, count: int) -> tuple[list[int], list[int]]:
        """Wait for the mounts of a stage; return their descriptors and the unmapped numbers."""
        unmapped: list[int] = []
        while True:
            raw, control = self._read(messages.SIZE)
            if raw and messages.unpack(raw)[0] == messages.UNMAPPED:
                unmapped.append(messages.unpack(raw)[1])
                continue
            return self._descriptors(raw, control, messages.READY, count), unmapped

    def expect_ready(self, *, terminal: bool, confirm: Callable[[], None] | None = None) -> int:
        """Wait until the plan is at its gate; return the pty master that came before, or -1.

        `confirm` is called then; what it raises is raised here.
        """
        master = self.expect_descriptors(messages.CONSOLE, 1)[0] if terminal else -1
        try:
            self.expect(messages.READY)
            if confirm is not None:
                confirm()
        except BaseException:
            if master >= 0:
                os.close(master)
            raise
        return master

    def go(self, descriptors: Iterable[int] = ()) -> None:
        """Let the plan go on, with descriptors if it waits for any."""
        if self._goes_ahead:
            return
        fds = b"".join(fd.to_bytes(4, "little") for fd in descriptors)
        control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)] if fds else []
        try:
            self._socket.sendmsg([messages.pack(messages.GO)], control)
        except (BrokenPipeError, ConnectionResetError):
            # It failed before it read this; its report, if any, says why.
            self._receive(messages.GO)

    def go_ahead(self) -> None:
        """Let the plan go on as soon as it is at its gate, which it then does not wait at.

        What fails before that is told when it is asked for: `expect_ready`, `wait_for_exec`.
        """
        self._goes_ahead = True
        try:
            self._socket.send(messages.pack(messages.GO))
        except (BrokenPipeError, ConnectionResetError):
            return

    def follow_fork(self) -> None:
        """Learn the pid of the process that goes on, and reap the one that forked it.

        The child may speak before its parent has told of it: what it says is kept for later.
        Giving up on it instead would leave a process that nobody knows.
        """
        while True:
            raw, control = self._read_socket(messages.SIZE)
            if not raw or messages.unpack(raw)[0] == messages.PID:
                break
            self._early.append((raw, control))
        if not raw:
            # The fork itself failed, and said so before the end.
            raw = self._read(messages.SIZE)[0] if self._early else raw
        self.pid = self._judge(raw, messages.PID)
        os.waitpid(self.spawned, 0)
        self.spawned = self.pid

    def wait_for_exec(self) -> None:
        """Wait until execve has succeeded, which closes the plan's end; raises if it failed."""
        raw = self._read(8)[0]
        if raw:
            self._judge(raw, b"")

    def _receive(self, tag: bytes) -> tuple[int, list[int]]:
        return self._take(*self._read(messages.SIZE), tag)

    def _take(self, raw: bytes, control: Control, tag: bytes) -> tuple[int, list[int]]:
        fds = _descriptors_in(control)
        try:
            return self._judge(raw, tag), fds
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def _read(self, size: int) -> Message:
        return self._early.pop(0) if self._early else self._read_socket(size)

    def _read_socket(self, size: int) -> Message:
        # That it ended without reading what we sent is told first, once, and what it said before
        # that afterwards (sock_error() in the kernel's __skb_try_recv_datagram()).
        for _ in range(2):
            try:
                raw, control, _, _ = self._socket.recvmsg(size, _LARGEST_CONTROL, _MSG_CMSG_CLOEXEC)
            except TimeoutError:
                waited = f"{messages.ANSWER_TIMEOUT_S:.0f} s"
                message = f"the setup process has not answered for {waited}"
                raise StepError(message, f"see /proc/{self.pid}/stack for where it waits") from None
            except ConnectionResetError:
                continue
            return raw, control
        return b"", []

    def _judge(self, raw: bytes, tag: bytes) -> int:
        if not raw:
            message = "the setup process ended without a word"
            raise StepError(message, "was it killed? see the kernel log for out-of-memory kills")
        got, value = messages.unpack(raw)
        if got == messages.ERROR:
            # Loaded when something failed; the words cost more than the work.
            from substrate.isolation.failures import step_error

            raise step_error(self.plan, value)
        if got != tag:
            message = f"the setup process said {got!r} instead of {tag!r}"
            raise StepError(message)
        return value


def _descriptors_in(control: Control) -> list[int]:
    return [
        int.from_bytes(data[at : at + 4], "little")
        for level, kind, data in control
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for at in range(0, len(data) - len(data) % 4, 4)
    ]


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
