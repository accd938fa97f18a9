"""Attending a process whose streams come to us: input given, output kept within a limit.

The limit is of what is kept in memory. What goes beyond is kept in a file, and the digest is of
all of it, so that a flood costs disk and not memory, and nothing of it is lost unseen.
"""

from __future__ import annotations

import errno
import os
import select
import time

from substrate.api.records import Output
from substrate.errors import SubstrateError
from substrate.record import record
from substrate.world.context import prepare_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.cgroups.report import LimitHit
    from substrate.world.output import Budget
    from substrate.world.process import Started

    OnOutput = Callable[[str, bytes], None]
    Before = Callable[[Started], None]
    Start = Callable[[dict[int, int], bool, Before | None], Started]

OUTPUT_BYTES = 1 << 20
# More than this is not kept at all, but counted and digested.
SPILL_BYTES = 1 << 30
_CHUNK = 1 << 16
_SIGTERM = 15
# From SIGTERM to SIGKILL, when the time is over.
GRACE_S = 2.0


@record
class Ended:
    """How an attended process ended: its code is an exit status, or minus the signal."""

    code: int
    timed_out: bool = False
    stdout: Output | None = None
    stderr: Output | None = None
    limits_hit: tuple[LimitHit, ...] = ()


class Kept:
    """One output stream. `spill` is the path of the file for what memory does not keep.

    Its directory is made when there is something to keep.
    """

    def __init__(self, limit: int, spill: str | None) -> None:
        # Loaded for those whose output is kept: it costs 3 ms.
        from hashlib import sha256

        self._limit = limit
        self._spill = spill
        self._head = bytearray()
        self._digest = sha256()
        self._size = 0
        self._file = -1

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        before, self._size = self._size, self._size + len(data)
        self._head += data[: max(0, self._limit - before)]
        if self._size > self._limit and self._spill is not None:
            try:
                self._keep_on_disk(self._spill, data[max(0, self._limit - before) :])
            except (OSError, SubstrateError):
                # No room: the command goes on, and its output is counted and digested.
                self._forget_file()

    def _keep_on_disk(self, path: str, data: bytes) -> None:
        if self._size > SPILL_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self._file < 0:
            prepare_directory(os.path.dirname(path))
            self._file = _create(path)
            _write_all(self._file, bytes(self._head))
        _write_all(self._file, data)

    def _forget_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            os.unlink(self._spill or "")
        self._file, self._spill = -1, None

    def close(self) -> Output:
        """Return what came, and close the file."""
        spilled = self._file >= 0
        if spilled:
            os.close(self._file)
            self._file = -1
        return Output(
            text=bytes(self._head).decode("utf-8", "surrogateescape"),
            size=self._size,
            sha256=self._digest.hexdigest(),
            truncated=self._size > self._limit,
            file=self._spill if spilled else None,
        )


class Capture:
    """How one process is attended; `cancel` may be called from another thread."""

    def __init__(
        self,
        stdin: bytes,
        limit: int,
        spill: str | None = None,
        timeout_s: float | None = None,
        on_output: OnOutput | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._stdin = stdin
        self._budget = budget
        self._timeout_s = timeout_s
        self._on_output = on_output
        suffixes = {"stdout": ".stdout", "stderr": ".stderr"}
        self._kept = {
            name: Kept(limit, None if spill is None else spill + suffix)
            for name, suffix in suffixes.items()
        }
        self._streams: dict[int, str] = {}
        self._input_fd = -1

    def attend(self, start: Start, *, terminal: bool) -> Ended:
        """Start the process and stay with it to its end."""
        theirs: dict[int, int] = {}
        try:
            if not terminal:
                theirs = self._open_pipes()
            started = start(theirs, terminal, None)
        except BaseException:
            self._close()
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)
        if terminal:
            self._streams[started.master_fd] = "stdout"
            self._input_fd = started.master_fd
        try:
            timed_out = self._copy(started)
        except BaseException:
            started.kill_all()
            raise
        finally:
            # Until then a signal may go to its terminal, by the number of that descriptor.
            code = started.reap()
            self._close()
        stdout = self._kept["stdout"].close()
        stderr = self._kept["stderr"].close()
        hits = hits_of(self._budget)
        return Ended(code, timed_out, stdout, None if terminal else stderr, hits)

    def _open_pipes(self) -> dict[int, int]:
        theirs: dict[int, int] = {}
        theirs[0], self._input_fd = os.pipe2(os.O_CLOEXEC)
        for number, name in ((1, "stdout"), (2, "stderr")):
            ours, theirs[number] = os.pipe2(os.O_CLOEXEC)
            self._streams[ours] = name
        return theirs

    def _copy(self, started: Started) -> bool:
        """Copy until the process has ended and what it wrote is read; True when time was over.

        Others that still hold the pipes do not keep us: they are background processes.
        """
        deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        timed_out = False
        for fd in (*self._streams, self._input_fd):
            os.set_blocking(fd, False)
        if not self._stdin and self._input_fd not in self._streams:
            self._close_input()
        while True:
            ready = self._poll(started.pidfd, deadline)
            if deadline is not None and time.monotonic() >= deadline:
                if timed_out:
                    started.kill_all()
                else:
                    started.signal(_SIGTERM)
                timed_out, deadline = True, time.monotonic() + GRACE_S
            if self._input_fd in ready and self._stdin:
                self._write_input()
            read = [self._read(fd) for fd in list(self._streams) if fd in ready]
            if self._budget is not None and self._budget.is_exceeded:
                started.kill_all()
                return timed_out
            if started.pidfd in ready and not any(read):
                return timed_out

    def _poll(self, pidfd: int, deadline: float | None) -> set[int]:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        for fd in self._streams:
            poll.register(fd, select.POLLIN)
        if self._stdin and self._input_fd >= 0:
            both = select.POLLIN | select.POLLOUT
            poll.register(
                self._input_fd, both if self._input_fd in self._streams else select.POLLOUT
            )
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
        return {fd for fd, _ in poll.poll(left)}

    def _write_input(self) -> None:
        try:
            written = os.write(self._input_fd, self._stdin[:_CHUNK])
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            self._stdin, written = b"", 0  # nobody reads it
        self._stdin = self._stdin[written:]
        if not self._stdin and self._input_fd not in self._streams:
            self._close_input()

    def _read(self, fd: int) -> bool:
        """Read what is there; returns whether there may be more."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            # EIO: every descriptor of the terminal's other side is closed.
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            del self._streams[fd]
            if fd != self._input_fd:
                os.close(fd)
            return False
        name = self._streams[fd]
        if self._budget is not None:
            data = self._budget.take(data)
        self._kept[name].add(data)
        if self._on_output is not None:
            self._on_output(name, data)
        return True

    def _close_input(self) -> None:
        os.close(self._input_fd)
        self._input_fd = -1

    def _close(self) -> None:
        fds = {*self._streams, self._input_fd} - {-1}
        self._streams, self._input_fd = {}, -1
        for fd in fds:
            os.close(fd)


def hits_of(budget: Budget | None) -> tuple[LimitHit, ...]:
    """Return what is told of a budget of output, nothing when it was kept."""
    hit = None if budget is None else budget.hit("the command")
    return () if hit is None else (hit,)


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
