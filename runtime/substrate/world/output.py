"""The output of a command within its limit: relayed, counted, and the end of whoever exceeds it.

Only where a limit is set. Otherwise the command has the caller's own streams, which costs nothing
and which nobody can count.
"""

from __future__ import annotations

import errno
import os
import select

from substrate.cgroups.report import LimitHit, readable_bytes
from substrate.world.console import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUT = "output"
HINT = "raise it with substrate.limits.output"
_CHUNK = 1 << 16


class Budget:
    """How many bytes may still come, of all streams together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.seen_bytes = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more has come than may."""
        return self.seen_bytes > self.limit_bytes

    def take(self, data: bytes) -> bytes:
        """Count what came, and return as much of it as may be passed on."""
        left = max(0, self.limit_bytes - self.seen_bytes)
        self.seen_bytes += len(data)
        return data[:left]

    def hit(self, what: str) -> LimitHit | None:
        """Return what is told of `what` was ended for it, None when nothing was."""
        if not self.is_exceeded:
            return None
        sentence = (
            f"too much output: the limit of {readable_bytes(self.limit_bytes)} was reached and"
            f" {what} was ended with all its processes"
        )
        return LimitHit(
            OUTPUT, self.limit_bytes, self.seen_bytes, 1, is_fatal=True, sentence=sentence,
            hint=HINT,
        )  # fmt: skip


class OutputPipes:
    """Two pipes in place of a command's output and error; `relay` passes on what comes.

    `theirs` are the ends for the command, to be closed once it has them (`give`).
    """

    def __init__(self, limit_bytes: int) -> None:
        self.budget = Budget(limit_bytes)
        self.theirs: dict[str, int] = {}
        self._ours: dict[int, int] = {}
        for name, target in (("stdout", 1), ("stderr", 2)):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self._ours[ours] = target
            self.theirs[name] = theirs

    def give(self) -> None:
        """Close the command's ends here."""
        for fd in self.theirs.values():
            os.close(fd)
        self.theirs = {}

    def close(self) -> None:
        """Close everything; whoever still writes is told by SIGPIPE."""
        self.give()
        for fd in self._ours:
            os.close(fd)
        self._ours = {}

    def relay(self, pidfd: int) -> None:
        """Copy until the process has ended and its output is read, or the budget is exceeded.

        Other processes may keep the pipes open; that does not keep us.
        """
        while self._ours and not self.budget.is_exceeded:
            poll = select.poll()
            for fd in (*self._ours, pidfd):
                poll.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll()}
            came = [self._copy(fd) for fd in ready & self._ours.keys()]
            if pidfd in ready and not any(came):
                return

    def _copy(self, fd: int) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            try:
                write_all(self._ours[fd], self.budget.take(data))
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EIO, errno.EBADF):
                    raise
                data = b""  # nobody reads it: the command learns it as it would without us
        if not data:
            os.close(fd)
            del self._ours[fd]
        return bool(data)


class Limited:
    """The limit of a command's output and what is done when it is exceeded.

    `pipes` is None for a command with a terminal, whose relay spends the budget.
    """

    def __init__(self, limit_bytes: int, *, terminal: bool) -> None:
        self.pipes = None if terminal else OutputPipes(limit_bytes)
        self.budget = Budget(limit_bytes) if self.pipes is None else self.pipes.budget
        self.end: Callable[[], None] = _nobody
        self.what = "the world"

    @property
    def inputs(self) -> dict[str, int]:
        """The plan's inputs that the command's streams come from."""
        return {} if self.pipes is None else dict(self.pipes.theirs)

    def hits(self) -> tuple[LimitHit, ...]:
        """Return what is told of it, nothing when the limit was kept."""
        found = self.budget.hit(self.what)
        return () if found is None else (found,)

    def give(self) -> None:
        """Close the command's ends here."""
        if self.pipes is not None:
            self.pipes.give()

    def close(self) -> None:
        """Close everything."""
        if self.pipes is not None:
            self.pipes.close()


def _nobody() -> None:
    """End nobody."""
