"""What a bash says of its jobs, read and written: `jobs -l` in, the lines of `jobs` out."""

from __future__ import annotations

import re
import signal

from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# `[1]+  1791 Running                 sleep 2 &`, and a line for each further process of it.
_FIRST = re.compile(r"\[(\d{1,6})\][ +-] +(\d{1,10}) (.*)")
_FURTHER = re.compile(r" +(\d{1,10}) +(\|.*)")
_STATE_WIDTH = 24
_BACKGROUND = " &"
# More jobs than this nobody has; a forged list is no burden.
_MOST = 1000


@record
class Job:
    """One job, by its number in the session.

    `pids` are its processes as the world numbers them, the leader first; `state` is bash's word;
    `text` is the command.
    """

    number: int
    pids: tuple[int, ...]
    state: str
    text: str

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.state == "Running"

    @property
    def is_stopped(self) -> bool:
        """Whether it waits to be continued."""
        return self.state.startswith("Stopped")

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.is_running or self.is_stopped

    @property
    def status(self) -> int:
        """What `wait` returns for it once it has ended."""
        if self.state == "Done":
            return 0
        number = self.state.removeprefix("Exit ").removeprefix("Done(").rstrip(")")
        if number.isascii() and number.isdigit():
            return int(number) & 0xFF
        return 128 + _SIGNALS.get(self.state.removesuffix(" (core dumped)"), 0)


_SIGNALS = {
    signal.strsignal(number) or "": int(number) for number in sorted(signal.valid_signals())
}


def read_jobs(text: str) -> list[Job]:
    """Return the jobs that `jobs -l` has listed; a line that it would not write is left out."""
    found: list[Job] = []
    for line in text.split("\n"):
        first = _FIRST.fullmatch(line)
        if first is not None and len(found) < _MOST:
            rest = first[3]
            state, command = rest[:_STATE_WIDTH].strip(), rest[_STATE_WIDTH:]
            found.append(Job(int(first[1]), (int(first[2]),), state, command))
            continue
        further = _FURTHER.fullmatch(line)
        if further is not None and found:
            last = found.pop()
            text_ = f"{last.text} {further[2]}"
            found.append(Job(last.number, (*last.pids, int(further[1])), last.state, text_))
        elif found and line:
            # A command of several lines.
            last = found.pop()
            found.append(replace(last, text=f"{last.text}\n{line}"))
    return [
        Job(job.number, job.pids, job.state, job.text.removesuffix(_BACKGROUND)) for job in found
    ]


def ranked(jobs: Iterable[Job], last_stopped: Sequence[int]) -> list[int]:
    """Return the numbers, the current job first.

    Stopped ones come before running ones, and the last stopped first; then the newest.
    """

    def rank(job: Job) -> tuple[bool, int, int]:
        since = last_stopped.index(job.number) if job.number in last_stopped else -1
        return job.is_stopped, since if job.is_stopped else 0, job.number

    return [job.number for job in sorted(jobs, key=rank, reverse=True)]


def job_line(job: Job, order: Sequence[int], *, long: bool = False) -> str:
    """Return the line of `jobs`, or of `jobs -l`; `order` is what `ranked` has returned."""
    mark = " "
    if job.number in order[:2]:
        mark = "+" if job.number == order[0] else "-"
    pid = f"{job.pids[0]:>5} " if long else " "
    text = job.text + (_BACKGROUND if job.is_running else "")
    return f"[{job.number}]{mark} {pid}{job.state:<{_STATE_WIDTH}}{text}\n"
