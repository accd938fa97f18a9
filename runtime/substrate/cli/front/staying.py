"""One shell that stays with its jobs: its terminal is copied, it is told what to do and answers."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress

from substrate.cli.front.joblist import read_jobs
from substrate.cli.front.jobwords import MESSAGE, order
from substrate.kernel import procfs
from substrate.world.console import Listener, Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.cli.front.joblist import Job
    from substrate.world.output import Budget
    from substrate.world.process import Started

_CHUNK = 4096
# A shell that does not answer is one that its own jobs have stopped.
_PATIENCE_S = 2.0
_MOMENT_S = 0.02
_LONGEST_ANSWER = 1 << 20


class StayingShell:
    """A bash at the end of its command. `orders_fd` and `answers_fd` are closed here.

    `put` gets what its terminal says while it is in the background, and nothing when that ends;
    `look` is called, by a thread of this shell, when a job of it may have ended.
    """

    def __init__(
        self,
        started: Started,
        orders_fd: int,
        answers_fd: int,
        put: Callable[[bytes], None],
        look: Callable[[StayingShell], None],
    ) -> None:
        self._started = started
        self._orders = orders_fd
        self._answers = Answers(answers_fd)
        self._put = put
        self._look = look
        self._talk = threading.Lock()
        self._is_deaf = False
        self._in_front = threading.Event()
        self._stood_aside = threading.Event()
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._waking = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        # The job that was last brought to the front; its exit status, once it has ended.
        self.front = 0
        self.code: int | None = None

    def follow(self) -> None:
        """Begin to copy what its terminal says."""
        self._thread.start()

    def is_there(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def jobs(self) -> list[Job] | None:
        """Return its jobs, None when it does not say."""
        answer = self.tell(order("list", 0))
        return None if answer is None else read_jobs(answer)

    def tell(self, text: str) -> str | None:
        """Give an order and return the answer, None when there is none."""
        with self._talk:
            if self._orders < 0 or self._is_deaf or self._in_front.is_set():
                return None
            if not self._give(text):
                return None
            answer = self._answers.wait(_PATIENCE_S)
            self._is_deaf = answer is None
            return answer

    def dismiss(self) -> None:
        """Let it go: it ends once nothing is left on its terminal."""
        with self._talk:
            if self._orders >= 0:
                os.close(self._orders)
                self._orders = -1

    def bring_to_front(
        self, number: int, pidfd: int, budget: Budget | None, keyboard: int
    ) -> str | None:
        """Be with a job of it until it ends or is stopped, or the process of `pidfd` has ended.

        Returns its answer, the status; None when it did not say: then it may have ended.
        """
        self._in_front.set()
        try:
            if not self._wake() or not self._stood_aside.wait(_PATIENCE_S):
                return None
            self.front = number
            with self._talk:
                if self._orders < 0 or not self._give(order("fg", number)):
                    return None
            relay = Relay(self._started.master_fd, budget, keyboard, 1)
            relay.copy_size()
            with select.epoll() as either:
                for fd in (pidfd, self._started.pidfd):
                    either.register(fd, select.EPOLLIN)
                relay.run(either.fileno(), self._answers)
            return self._answers.take()
        finally:
            self._stood_aside.clear()
            self._in_front.clear()
            self._wake()

    def has_ended(self, timeout_s: float) -> bool:
        """Wait so long for its end."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def resize(self, keyboard: int) -> None:
        """Give its terminal the size of the caller's, while it is in front."""
        if self._stood_aside.is_set():
            Relay(self._started.master_fd, None, keyboard, 1).copy_size()

    def _give(self, text: str) -> bool:
        self._answers.take()
        try:
            os.write(self._orders, os.fsencode(text))
        except (BrokenPipeError, BlockingIOError):
            return False
        return True

    def _wake(self) -> bool:
        """Have the thread look around; False when it has gone."""
        # With its end: the number of a closed descriptor may be another file's.
        with self._waking:
            if self._wake_out < 0:
                return False
            # A pipe that is full wakes it as well.
            with suppress(BlockingIOError):
                os.write(self._wake_out, b".")
            return True

    def _follow(self) -> None:
        os.set_blocking(self._started.master_fd, False)
        watched = _pidfds_of(self._started.pid)
        try:
            self._copy(watched)
        finally:
            for fd in watched:
                os.close(fd)
            os.close(self._started.master_fd)
            self.code = self._started.reap()
            self._end()

    def _copy(self, watched: list[int]) -> None:
        terminal_open = True
        while True:
            poll = select.poll()
            in_front = self._in_front.is_set()
            fds = [self._wake_in]
            if in_front:
                self._put(b"")
                self._stood_aside.set()
            else:
                # It may have stood aside too late for whoever asked.
                self._stood_aside.clear()
                fds += [self._started.pidfd, *watched]
                if terminal_open:
                    fds.append(self._started.master_fd)
            for fd in fds:
                poll.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll()}
            if self._wake_in in ready:
                os.read(self._wake_in, _CHUNK)
                continue
            if self._started.master_fd in ready:
                terminal_open = self._pass_on()
                continue
            gone = ready.intersection(watched)
            for fd in gone:
                watched.remove(fd)
                os.close(fd)
            if gone:
                # The shell hears of it a moment after us.
                time.sleep(_MOMENT_S)
                self._look(self)
            if self._started.pidfd in ready:
                return

    def _pass_on(self) -> bool:
        try:
            data = os.read(self._started.master_fd, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False  # EIO: its terminal is closed
        self._put(data)
        return bool(data)

    def _end(self) -> None:
        self.dismiss()
        self._put(b"")
        self._look(self)
        self._answers.close()
        os.close(self._wake_in)
        with self._waking:
            os.close(self._wake_out)
            self._wake_out = -1


class Answers(Listener):
    """What a shell says: messages, each ended by a NUL; the last one counts."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._data = b""
        self._answer: str | None = None

    def hear(self) -> bool:
        """Take what is there; True when it is an answer, or the shell has gone."""
        try:
            data = os.read(self.fd, _CHUNK * 16)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if not data:
            return True
        self._data = (self._data + data)[-_LONGEST_ANSWER:]
        while b"\0" in self._data:
            message, _, self._data = self._data.partition(b"\0")
            text = os.fsdecode(message)
            if text.startswith(MESSAGE):
                self._answer = text[len(MESSAGE) :]
        return self._answer is not None

    def take(self) -> str | None:
        """Return the last answer, once."""
        answer, self._answer = self._answer, None
        return answer

    def wait(self, timeout_s: float) -> str | None:
        """Return the next answer, None when it does not come in time."""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000) and self.hear():
                return self.take()
        return None

    def close(self) -> None:
        """Close the pipe."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _pidfds_of(pid: int) -> list[int]:
    """Return descriptors of the processes that a shell has started and that still run."""
    found: list[int] = []
    for child in procfs.descendants(pid):
        try:
            found.append(os.pidfd_open(child))
        except ProcessLookupError:
            continue
    return found
