"""What `fg`, `bg`, `jobs`, `kill`, `wait` and `disown` do with the jobs of earlier commands.

A question is the payload's, and so is whatever it names: it gets at jobs of its own session only.
What it asks of jobs that are its own is given back to its builtin.
"""

from __future__ import annotations

import re

from substrate.cli.front import jobwords
from substrate.cli.front.joblist import job_line, read_jobs
from substrate.cli.front.jobwords import run, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.cli.front.joblist import Job
    from substrate.cli.front.jobs import Jobs
    from substrate.cli.front.jobwords import Asked
    from substrate.cli.front.staying import StayingShell

_SIGNAL = re.compile(r"[A-Za-z0-9+-]{1,12}")
_STOPPED = 148  # 128 + SIGTSTP
_GONE = 127
# No process has a number as high.
_NOBODY = str(1 << 30)


class Answerer:
    """Answers one shell's questions; `bring` brings a job to the front and returns its status."""

    def __init__(
        self,
        jobs: Jobs,
        reply: Callable[[str], None],
        bring: Callable[[StayingShell, int], str | None],
    ) -> None:
        self._jobs = jobs
        self._reply = reply
        self._bring = bring

    def answer(self, asked: Asked) -> None:
        """Answer a question, at once or, of `wait`, when it is time."""
        self._jobs.refresh()
        own = [job for job in read_jobs(asked.own) if job.pids[0] not in asked.standins]
        question = _Question(asked, own, self._jobs)
        missing = question.missing()
        if missing is not None:
            self._reply(missing)
        elif asked.word == "wait":
            self._wait(question)
        elif asked.word == "fg":
            self._reply(self._foreground(question))
        else:
            self._reply(getattr(question, asked.word)())

    def _foreground(self, question: _Question) -> str:
        number = question.one()
        if isinstance(number, str):
            return number
        shell = self._jobs.shell_of(number)
        told = None if shell is None else self._bring(shell, number)
        self._jobs.refresh()
        if told is not None and told.isdigit():
            if int(told) == _STOPPED:
                self._jobs.stopped(number)
            return say(int(told))
        if shell is not None and shell.has_ended(1.0) and shell.code is not None:
            return say(shell.code if shell.code >= 0 else 128 - shell.code)
        return say(1, "", f"fg: %{number}: its shell does not answer\n")

    def _wait(self, question: _Question) -> None:
        numbers, rest = question.waited()
        if numbers is None:
            self._reply(run("wait", *question.asked.arguments))
            return
        ends: dict[int, int] = {}

        def is_over() -> bool:
            alive = {job.number: job for job in self._jobs.all()}
            for number in numbers:
                job = alive.get(number)
                if job is None:
                    ended = self._jobs.ended(number)
                    ends.setdefault(number, _GONE if ended is None else ended.status)
                elif job.is_stopped:
                    ends[number] = _STOPPED
            over = len(ends) == len(numbers) or (question.any and bool(ends))
            if over:
                status = question.status_of(ends, numbers)
                told = self._jobs.notices()
                self._reply(run("wait", *rest) if rest else say(status, "", told))
            return over

        self._jobs.when(is_over)


class _Question:
    """One question, and what the jobs are at that moment."""

    def __init__(self, asked: Asked, own: list[Job], jobs: Jobs) -> None:
        self.asked = asked
        self._own = own
        self._jobs = jobs
        self._order = jobs.order(own)
        self._listed = {job.number: job for job in (*jobs.all(), *own)}
        if asked.word == "wait":
            self._listed = {job.number: job for job in jobs.unnoticed()} | self._listed
        self._standins = {pid: number for number, pid in enumerate(asked.standins, 1)}
        last = jobs.last()
        if asked.last and last is not None:
            self._standins[asked.last] = last.number
        self.any = False
        self.names = bool(asked.arguments)

    def missing(self) -> str | None:
        """Return the answer when a job is named that there is none of."""
        for word in self.asked.arguments:
            if word.startswith("%") and self._find(word) is None:
                status = _GONE if self.asked.word == "wait" else 1
                return say(status, "", f"bash: {self.asked.word}: {word}: no such job\n")
        return None

    def one(self) -> int | str:
        """Return the job of `fg`, or what to answer when it is not one of an earlier shell."""
        words = self.asked.arguments
        number = self._find(words[0] if words else "%%")
        if number is None:
            name = words[0] if words else "current"
            return say(1, "", f"bash: fg: {name}: no such job\n")
        if self._is_own(number):
            return run(self.asked.word, *words)
        return number

    def bg(self) -> str:
        """Continue jobs in the background."""
        out = err = ""
        for word in self.asked.arguments or ("%%",):
            number = self._find(word)
            job = None if number is None else self._listed[number]
            if number is None or job is None:
                err += f"bash: bg: {word}: no such job\n"
            elif self._is_own(number):
                return run("bg", *self.asked.arguments)
            elif job.is_running:
                err += f"bash: bg: job {number} already in background\n"
            elif self._tell("bg", number) == "0":
                out += f"[{number}]{'+' if number == self._order[0] else '-'} {job.text} &\n"
            else:
                err += f"bash: bg: %{number}: its shell does not answer\n"
        self._jobs.refresh()
        return say(1 if err else 0, out, err)

    def disown(self) -> str:
        """Forget jobs, which go on."""
        options = {word for word in self.asked.arguments if word in ("-a", "-h", "-r", "-ar")}
        words = [word for word in self.asked.arguments if word not in options]
        if not words:
            words = ["%%"]
            if options - {"-h"}:
                words = [f"%{number}" for number in self._listed]
        mine: list[str] = []
        for word in words:
            number = self._find(word)
            if number is None or self._is_own(number):
                mine.append(word if number is None else f"%{number}")
            elif "-h" not in options:
                self._tell("disown", number)
                self._jobs.drop(number)
        return run("disown", *options, *mine) if mine else say(0)

    def jobs(self) -> str:
        """List jobs."""
        letters = "".join(word[1:] for word in self.asked.arguments if word[:1] == "-")
        words = [word for word in self.asked.arguments if word[:1] != "-"]
        if set(letters) - set("lnprs"):
            return run("jobs", *self.asked.arguments)
        numbers = sorted(self._listed)
        if words:
            found = [self._find(word) for word in words]
            numbers = [number for number in found if number is not None]
            if len(numbers) < len(words):
                missing = words[found.index(None)]
                return say(1, "", f"bash: jobs: {missing}: no such job\n")
        out = "" if words else self._jobs.notices()
        for number in numbers:
            job = self._listed[number]
            wanted = not set(letters) & {"r", "s"}
            if wanted or ("r" in letters and job.is_running) or ("s" in letters and job.is_stopped):
                line = job_line(job, self._order, long="l" in letters)
                out += f"{job.pids[0]}\n" if "p" in letters else line
        return say(0, out)

    def kill(self) -> str:
        """Signal jobs through their shells, which continues those that are stopped."""
        words = list(self.asked.arguments)
        signal, given = "TERM", []
        if words and words[0] in ("-s", "-n") and len(words) > 1:
            signal, given, words = words[1], words[:2], words[2:]
        elif words and words[0][:1] == "-" and words[0] != "--":
            signal, given, words = words[0][1:], words[:1], words[1:]
        if words[:1] == ["--"]:
            words = words[1:]
        found = {word: self._find(word) for word in words if word[:1] == "%" or self._stands(word)}
        theirs = {word: n for word, n in found.items() if n is not None and not self._is_own(n)}
        if signal in ("l", "L") or not _SIGNAL.fullmatch(signal):
            return run("kill", *self.asked.arguments)
        if not theirs:
            return run("kill", *map(self._real, self.asked.arguments))
        failed = [word for word, n in theirs.items() if self._tell("kill", n, signal) != "0"]
        self._jobs.refresh()
        rest = [self._real(word) for word in words if word not in theirs]
        if rest:
            return run("kill", *given, "--", *rest)
        return (
            say(1, "", f"bash: kill: ({failed[0]}): cannot be sent {signal}\n")
            if failed
            else (say(0))
        )

    def waited(self) -> tuple[list[int] | None, list[str]]:
        """Return the earlier jobs to wait for, and what to wait for by the shell's own builtin.

        None: it is all about the shell's own.
        """
        words = list(self.asked.arguments)
        while words and words[0] in ("-n", "-f"):
            self.any = self.any or words.pop(0) == "-n"
        self.names = bool(words) or self.any
        if not words:
            own = [str(job.pids[-1]) for job in self._own if job.is_running]
            theirs = [job.number for job in self._jobs.all() if job.is_running]
            return (None, []) if self.any and own else (theirs, [] if self.any else own)
        found = [self._find(word) for word in words]
        numbers = [n for n in found if n is not None and not self._is_own(n)]
        if not numbers:
            return None, []
        rest = [word for word, n in zip(words, found, strict=True) if n is None or self._is_own(n)]
        return numbers, rest

    def status_of(self, ends: dict[int, int], numbers: list[int]) -> int:
        """Return what `wait` returns when these have ended with these statuses."""
        if not self.names:
            return 0
        return next(iter(ends.values()), _GONE) if self.any else ends.get(numbers[-1], _GONE)

    def _tell(self, word: str, number: int, signal: str = "") -> str | None:
        shell = self._jobs.shell_of(number)
        return None if shell is None else shell.tell(jobwords.order(word, number, signal))

    def _is_own(self, number: int) -> bool:
        return any(job.number == number for job in self._own)

    def _real(self, word: str) -> str:
        """Return the process that a word means, of one that stands for a job no longer listed."""
        last = self._jobs.last()
        if not self._stands(word) or last is None:
            return word
        # It has ended, or was disowned; whoever stands for it is not to be hit.
        return str(last.pids[-1]) if self._standins[int(word)] == last.number else _NOBODY

    def _stands(self, word: str) -> bool:
        return word.isascii() and word.isdigit() and int(word) in self._standins

    def _find(self, word: str) -> int | None:
        """Return the number of the job that a word means, as bash reads it; None for none."""
        if self._stands(word):
            number = self._standins[int(word)]
            is_known = number in self._listed or self.asked.word == "wait"
            return number if is_known else None
        name = word.removeprefix("%")
        if word.startswith("%") and name in ("", "%", "+"):
            return self._order[0] if self._order else None
        if word.startswith("%") and name == "-":
            return self._order[1] if len(self._order) > 1 else self._find("%%")
        if (
            name.isascii()
            and name.isdigit()
            and (word.startswith("%") or self.asked.word != "wait")
        ):
            return int(name) if int(name) in self._listed else None
        if self.asked.word in ("kill", "wait") and not word.startswith("%"):
            by_pid = [n for n, job in self._listed.items() if word in map(str, job.pids)]
            return by_pid[0] if by_pid and self.asked.word == "wait" else None
        matching = [n for n, job in self._listed.items() if _is_named(job, name)]
        return matching[0] if len(matching) == 1 else None


def _is_named(job: Job, name: str) -> bool:
    return name[1:] in job.text if name[:1] == "?" else job.text.startswith(name)
