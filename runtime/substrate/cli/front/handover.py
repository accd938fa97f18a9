"""One command's shell and we: its state goes in and comes out, and it may ask for earlier jobs."""

from __future__ import annotations

import os

from substrate.cli.front.jobanswers import Answerer
from substrate.cli.front.jobwords import (
    MESSAGE,
    ORDERS_FD,
    REPORT_FD,
    SILENT_FD,
    read_question,
)
from substrate.cli.front.shellstate import LONGEST_REPORT, STATE_FD, Report, ShellState, read_report
from substrate.kernel import signals
from substrate.world.console import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from substrate.cli.front.joblist import Job
    from substrate.cli.front.jobs import Jobs
    from substrate.cli.front.staying import StayingShell
    from substrate.world.output import Budget
    from substrate.world.process import Started

_SIGWINCH = 28


class Handover(Listener):
    """The descriptors of one shell. It owns them, until `leave_to_jobs`; a context manager."""

    def __init__(self, state: ShellState, jobs: Jobs, budget: Budget | None = None) -> None:
        self._state = state
        self._jobs = jobs
        self._budget = budget
        self._pidfd = -1
        self._data = b""
        self._fields: list[bytes] = []
        self._report: Report | None = None
        self._answerer = Answerer(jobs, self._reply, self._bring)
        self._orders = -1
        self._silence: list[int] = []
        self.descriptors: dict[int, int] = {}

    def __enter__(self) -> Handover:
        self.fd, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        reading, self._orders = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._orders, False)
        highest = self._jobs.highest()
        state_fd = self._state.begin(highest, self._jobs.last_number())
        self.descriptors = {STATE_FD: state_fd, REPORT_FD: writing, ORDERS_FD: reading}
        if highest:
            silent, held = os.pipe2(os.O_CLOEXEC)
            self.descriptors[SILENT_FD] = silent
            self._silence = [held]
        return self

    def __exit__(self, *_details: object) -> None:
        self._jobs.forget_waiting()
        for fd in (self.fd, self._orders, *self.descriptors.values(), *self._silence):
            if fd >= 0:
                os.close(fd)

    @property
    def stays(self) -> bool:
        """Whether the shell has said that it stays, with jobs."""
        return self._report is not None and any(job.is_alive for job in self._report.jobs)

    def begin(self, pidfd: int) -> None:
        """Take note of the process that the shell is."""
        self._pidfd = pidfd

    def hear(self) -> bool:
        """Take what the shell wrote; True when it has handed over."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return False
        # Whoever writes without end is read without end, and not kept.
        if len(self._data) + sum(map(len, self._fields)) <= LONGEST_REPORT:
            self._data += data
        while b"\0" in self._data and self._report is None:
            field, _, self._data = self._data.partition(b"\0")
            if field.startswith(MESSAGE.encode()):
                self._question(os.fsdecode(field[1:]))
            else:
                self._fields.append(field)
                self._report = read_report(self._fields)
        return self._report is not None

    def finish(self) -> Report | None:
        """Return what was handed over, None when the shell could not."""
        while self._report is None:
            before = len(self._data), len(self._fields)
            self.hear()
            if (len(self._data), len(self._fields)) == before:
                break
        return self._report

    def leave_to_jobs(self, started: Started | None) -> str:
        """Give a shell that stays to the jobs, with our ends of its pipes.

        Returns what a person is told of its jobs.
        """
        new: tuple[Job, ...] = ()
        last_pid = 0
        if self._report is not None:
            earlier = self._jobs.highest()
            new = tuple(job for job in self._report.jobs if job.number > earlier)
            last_pid = self._report.last_pid
        if started is not None:
            ends = self._orders, self.fd
            self._orders = self.fd = -1
            self._jobs.take(started, ends, new)
        return self._jobs.began(new, last_pid)

    def _question(self, text: str) -> None:
        asked = read_question(text)
        if asked is not None:
            self._answerer.answer(asked)

    def _reply(self, text: str) -> None:
        if self._orders < 0:
            return
        try:
            os.write(self._orders, os.fsencode(text))
        except (BrokenPipeError, BlockingIOError):
            return  # nobody reads it

    def _bring(self, shell: StayingShell, number: int) -> str | None:
        keyboard = 0 if os.isatty(0) else 1

        def resize(_number: int, _frame: FrameType | None) -> None:
            shell.resize(keyboard)

        former = signals.handle(_SIGWINCH, resize)
        try:
            return shell.bring_to_front(number, self._pidfd, self._budget, keyboard)
        finally:
            signals.handle(_SIGWINCH, former)
