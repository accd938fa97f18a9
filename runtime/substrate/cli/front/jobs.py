"""The jobs of the interactive shell: what goes on, or is stopped, on terminals of its own.

The shell that began a job stays with it (`jobwords.py`). A thread for each of these shells copies
what their terminals say, sees when a job ends, and reaps the shell when it has ended itself.
"""

from __future__ import annotations

import threading

from substrate.cli.front.joblist import job_line, ranked
from substrate.cli.front.jobtext import JobText
from substrate.cli.front.staying import StayingShell
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.patch_stdout import StdoutProxy

    from substrate.cli.front.joblist import Job
    from substrate.world.process import Started

_LOST = "[{}]   {}: no job any more, its shell has ended; the process {} is by itself\n"


class Jobs:
    """The jobs of all earlier commands by number, and who waits for them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._shells: list[StayingShell] = []
        self._jobs: dict[int, tuple[Job, StayingShell]] = {}
        self._stopped: list[int] = []
        self._ended: list[Job] = []
        self._last: Job | None = None
        self._lost: list[Job] = []
        self._waiting: list[Callable[[], bool]] = []
        self._screen: StdoutProxy | None = None

    def take(self, started: Started, ends: tuple[int, int], jobs: tuple[Job, ...]) -> None:
        """Take over a command with its terminal, and with `ends` of its orders and answers.

        Those are closed when there is no job that it could be told of.
        """
        text = JobText()
        shell = StayingShell(started, *ends, lambda said: self._put(text.take(said)), self._look)
        alive = [job for job in jobs if job.is_alive]
        with self._lock:
            self._shells.append(shell)
            for job in alive:
                self._jobs[job.number] = (job, shell)
                if job.is_stopped:
                    self.stopped(job.number)
        if not alive:
            shell.dismiss()
        shell.follow()

    def began(self, jobs: tuple[Job, ...], last_pid: int) -> str:
        """Return what is told of new jobs, as bash tells it; `last_pid` is the `$!` of their shell.

        The end of those that have ended already is told before the next prompt.
        """
        with self._lock:
            self._last = next((job for job in jobs if last_pid in job.pids), self._last)
            self._ended += [job for job in jobs if not job.is_alive]
        return "".join(f"[{job.number}] {job.pids[-1]}\n" for job in jobs if not job.is_stopped)

    def all(self) -> list[Job]:
        """Return the jobs that have not ended, by number."""
        with self._lock:
            return [job for _, (job, _) in sorted(self._jobs.items())]

    def highest(self) -> int:
        """Return the highest number of a job, 0 where there is none."""
        with self._lock:
            return max(self._jobs, default=0)

    def count(self) -> int:
        """Return how many commands go on."""
        with self._lock:
            self._shells = [shell for shell in self._shells if shell.is_there()]
            return max(len(self._jobs), len(self._shells))

    def last_number(self) -> int | None:
        """Return the number of the job that `$!` means, 0 when it has ended, None for none."""
        with self._lock:
            return None if self._last is None else self._last.number * self._last.is_alive

    def last(self) -> Job | None:
        """Return the job that `$!` means."""
        with self._lock:
            return self._last

    def order(self, own: list[Job]) -> list[int]:
        """Return the numbers of all jobs, the current one first; `own` are those of a new shell."""
        with self._lock:
            stopped = [*self._stopped, *(job.number for job in own if job.is_stopped)]
            return ranked([*self.all(), *own], stopped)

    def refresh(self) -> None:
        """Ask every shell for its jobs."""
        for shell in {shell for _, shell in self._held()}:
            self._look(shell)

    def shell_of(self, number: int) -> StayingShell | None:
        """Return the shell that a job belongs to, None when there is no such job."""
        with self._lock:
            found = self._jobs.get(number)
            return None if found is None else found[1]

    def unnoticed(self) -> list[Job]:
        """Return those that have ended and that nobody was told of yet."""
        with self._lock:
            return list(self._ended)

    def ended(self, number: int) -> Job | None:
        """Return a job that has ended, as long as it is remembered."""
        with self._lock:
            remembered = [*self._ended, *([] if self._last is None else [self._last])]
            return next((job for job in remembered if job.number == number), None)

    def stopped(self, number: int) -> None:
        """Take note that a job was stopped: it is the current one then."""
        with self._lock:
            self._stopped = [*(other for other in self._stopped if other != number), number]

    def notices(self) -> str:
        """Return what bash says before a prompt: which jobs have ended. It is said once."""
        with self._lock:
            ended, self._ended = self._ended, []
            lost, self._lost = self._lost, []
            order = ranked([*self.all(), *ended], self._stopped)
        lines = [job_line(job, order) for job in sorted(ended, key=lambda job: job.number)]
        lines += [_LOST.format(job.number, job.text, job.pids[0]) for job in lost]
        return "".join(lines)

    def when(self, is_over: Callable[[], bool]) -> None:
        """Call `is_over` whenever a job has changed, until it returns True: now for the first."""
        with self._lock:
            if not is_over():
                self._waiting.append(is_over)

    def forget_waiting(self) -> None:
        """Drop who waits: the command that asked has ended."""
        with self._lock:
            self._waiting = []

    def drop(self, number: int) -> None:
        """Forget a job, which goes on by itself."""
        with self._lock:
            _, shell = self._jobs.pop(number)
            self._dismiss_idle(shell)

    def _held(self) -> list[tuple[Job, StayingShell]]:
        with self._lock:
            return list(self._jobs.values())

    def _look(self, shell: StayingShell) -> None:
        """Take over what a shell says of its jobs."""
        listed = shell.jobs()
        if listed is None:
            if shell.code is not None:
                self._lose(shell)
            return
        known = {job.number: job for job in listed}
        with self._lock:
            for before, of in self._held():
                if of is not shell:
                    continue
                number = before.number
                now = known.get(number)
                if self._last is not None and self._last.pids == before.pids:
                    self._last = now or replace(before, state="Done")
                if now is not None and now.is_alive:
                    self._jobs[number] = (now, shell)
                    if now.is_stopped and not before.is_stopped:
                        self.stopped(number)
                    continue
                del self._jobs[number]
                if now is not None:
                    self._ended.append(now)
            self._dismiss_idle(shell)
            self._tell()

    def _lose(self, shell: StayingShell) -> None:
        """Take note that a shell has ended, as it does when Ctrl-C ends its job in front of us."""
        with self._lock:
            for job, of in self._held():
                if of is not shell:
                    continue
                del self._jobs[job.number]
                if job.number != shell.front:
                    self._lost.append(job)
            self._tell()

    def _dismiss_idle(self, shell: StayingShell) -> None:
        if not any(of is shell for _, of in self._held()):
            shell.dismiss()

    def _tell(self) -> None:
        self._waiting = [is_over for is_over in self._waiting if not is_over()]

    def _put(self, text: str) -> None:
        """Show what a job says: above the prompt where there is one."""
        if not text:
            return
        with self._lock:
            if self._screen is None:
                from prompt_toolkit.patch_stdout import StdoutProxy

                self._screen = StdoutProxy(raw=True, sleep_between_writes=0.05)
        self._screen.write(text)
        self._screen.flush()
