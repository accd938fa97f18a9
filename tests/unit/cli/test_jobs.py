"""The jobs of earlier shells: how they are read, written, numbered, asked for and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.cli.front.jobanswers import Answerer
from substrate.cli.front.joblist import Job, job_line, ranked, read_jobs
from substrate.cli.front.jobs import Jobs
from substrate.cli.front.jobwords import (
    Asked,
    know_jobs,
    order,
    read_question,
    run,
    say,
    without_words,
)

if TYPE_CHECKING:
    from substrate.cli.front.staying import StayingShell

LISTED = """\
[1]-  1791 Running                 sleep 2 &
[2]+ 20001 Stopped                 sleep 5
     20002                       | cat
[4]   2044 Segmentation fault      (core dumped) ./crash
[5]   2045 Exit 3                  ( exit 3 )
"""


class FakeShell:
    """Stands for a shell that stays: it keeps the orders it gets and obeys all of them."""

    code = None

    def __init__(self, answer: str | None = "0") -> None:
        self.orders: list[str] = []
        self._answer = answer

    def tell(self, text: str) -> str | None:
        self.orders.append(text)
        return self._answer

    def has_ended(self, timeout_s: float) -> bool:
        return timeout_s < 0


class FakeJobs(Jobs):
    """The jobs as they are listed, of one shell."""

    def __init__(self, listed: list[Job], shell: FakeShell) -> None:
        super().__init__()
        self.listed, self.shell = listed, shell
        self.dropped: list[int] = []
        self.over: Job | None = None

    def all(self) -> list[Job]:
        return self.listed

    def refresh(self) -> None:
        """Nothing changes by itself."""

    def shell_of(self, number: int) -> StayingShell | None:
        known = any(job.number == number for job in self.listed)
        return self.shell if known else None  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    def ended(self, number: int) -> Job | None:
        del number
        return self.over

    def drop(self, number: int) -> None:
        self.dropped.append(number)


def ask(jobs: FakeJobs, word: str, *arguments: str, own: str = "") -> str:
    """Return the last answer to a question, "" while there is none."""
    answers = [""]
    answerer = Answerer(jobs, answers.append, lambda _shell, number: str(number))
    answerer.answer(Asked(word, arguments, own, (901, 902)))
    return answers[-1]


@pytest.fixture
def jobs() -> FakeJobs:
    alive = [job for job in read_jobs(LISTED) if job.is_alive]
    return FakeJobs(alive, FakeShell())


def test_what_bash_lists_is_read_and_written_as_bash_writes_it() -> None:
    found = read_jobs(LISTED)
    assert [(job.number, job.pids, job.state, job.text) for job in found] == [
        (1, (1791,), "Running", "sleep 2"),
        (2, (20001, 20002), "Stopped", "sleep 5 | cat"),
        (4, (2044,), "Segmentation fault", "(core dumped) ./crash"),
        (5, (2045,), "Exit 3", "( exit 3 )"),
    ]
    assert job_line(found[0], [2, 1]) == "[1]-  Running                 sleep 2 &\n"
    assert job_line(found[1], [2, 1], long=True) == (
        "[2]+ 20001 Stopped                 sleep 5 | cat\n"
    )


def test_a_command_of_several_lines_is_one_job() -> None:
    (job,) = read_jobs("[1]+  1791 Running                 ( while x; do\n    y;\ndone ) &\n")
    assert job.text == "( while x; do\n    y;\ndone )"
    assert job_line(job, [1]) == "[1]+  Running                 ( while x; do\n    y;\ndone ) &\n"


@pytest.mark.parametrize(
    ("state", "status"),
    [("Done", 0), ("Exit 3", 3), ("Terminated", 143), ("Killed", 137), ("Done(4)", 4)],
)
def test_a_state_tells_the_status(state: str, status: int) -> None:
    assert Job(1, (2,), state, "x").status == status


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_text_is_too_strange_a_list(text: str) -> None:
    for job in read_jobs(text):
        assert job.pids
        assert job_line(job, [])


def test_the_last_stopped_job_is_the_current_one_and_then_the_newest() -> None:
    one, two, three = (Job(n, (n,), "Running", "x") for n in (1, 2, 3))
    assert ranked([one, two, three], ()) == [3, 2, 1]
    stopped = [Job(1, (1,), "Stopped", "x"), Job(2, (2,), "Stopped", "x"), three]
    assert ranked(stopped, (2, 1)) == [1, 2, 3]


def test_a_shell_without_earlier_jobs_is_told_nothing() -> None:
    assert know_jobs(0, None) == ""
    assert "wait" in know_jobs(0, 0)


def test_our_functions_are_not_taken_for_the_person_s() -> None:
    ours = 'fg () \n{ \n    __substrate_ask fg "$@"\n}\n'
    theirs = "kill () \n{ \n    echo no\n}\n"
    assert without_words(ours + theirs) == theirs


def test_a_question_is_read_and_what_is_none_is_not() -> None:
    message = "kill\x02901 902;903\x02[1]+  7 Running                 x &\n\x02-9\x02%1"
    asked = read_question(message)
    assert asked == Asked(
        "kill", ("-9", "%1"), "[1]+  7 Running                 x &\n", (901, 902), 903
    )
    for text in ("", "rm\x02;\x02", "kill", "kill\x02x", "0"):
        assert read_question(text) is None


def test_the_foreground_is_given_to_the_job_that_is_meant(jobs: FakeJobs) -> None:
    assert ask(jobs, "fg") == say(2)
    assert ask(jobs, "fg", "%1") == say(1)
    assert ask(jobs, "fg", "%-") == say(1)
    assert ask(jobs, "fg", "%?cat") == say(2)
    assert "%7: no such job" in ask(jobs, "fg", "%7")
    # Both begin with it.
    assert "no such job" in ask(jobs, "fg", "%sleep")


def test_a_job_of_the_shell_that_asks_is_left_to_it(jobs: FakeJobs) -> None:
    own = "[3]+    12 Running                 sleep 9 &\n"
    assert ask(jobs, "fg", "%3", own=own) == run("fg", "%3")
    assert ask(jobs, "bg", "%3", own=own) == run("bg", "%3")
    assert ask(jobs, "wait", "%3", own=own) == run("wait", "%3")
    assert jobs.shell.orders == []


def test_a_stopped_job_is_continued_in_the_background_by_its_shell(jobs: FakeJobs) -> None:
    assert ask(jobs, "bg") == say(0, "[2]+ sleep 5 | cat &\n")
    assert jobs.shell.orders == [order("bg", 2)]
    assert "already in background" in ask(jobs, "bg", "%1")


def test_signals_go_through_the_shell_and_the_rest_to_the_builtin(jobs: FakeJobs) -> None:
    assert ask(jobs, "kill", "%1") == say(0)
    assert ask(jobs, "kill", "-s", "HUP", "%2", "%1") == say(0)
    # Of a process that stands for a job.
    assert ask(jobs, "kill", "-9", "902") == say(0)
    assert jobs.shell.orders == [
        order("kill", 1, "TERM"), order("kill", 2, "HUP"), order("kill", 1, "HUP"),
        order("kill", 2, "9"),
    ]  # fmt: skip
    assert ask(jobs, "kill", "-9", "%1", "555") == run("kill", "-9", "--", "555")
    assert ask(jobs, "kill", "-l") == run("kill", "-l")
    assert ask(jobs, "kill", "-x\x02y", "%1") == run("kill", "-x\x02y", "%1")


def test_jobs_are_listed_with_those_of_the_shell_itself(jobs: FakeJobs) -> None:
    own = "[3]+    12 Running                 sleep 9 &\n"
    assert ask(jobs, "jobs", own=own) == say(
        0,
        "[1]   Running                 sleep 2 &\n"
        "[2]+  Stopped                 sleep 5 | cat\n"
        "[3]-  Running                 sleep 9 &\n",
    )
    assert ask(jobs, "jobs", "-p", "%2") == say(0, "20001\n")
    assert ask(jobs, "jobs", "-r") == say(0, "[1]-  Running                 sleep 2 &\n")


def test_waiting_ends_when_the_job_does(jobs: FakeJobs) -> None:
    answers: list[str] = []
    answerer = Answerer(jobs, answers.append, lambda _shell, _number: None)
    answerer.answer(Asked("wait", ("%1",), "", ()))
    assert answers == []
    jobs.listed = [job for job in jobs.listed if job.number != 1]
    jobs.over = Job(1, (1791,), "Exit 5", "x")
    jobs._tell()  # pyright: ignore[reportPrivateUsage]
    assert answers == [say(5)]


def test_waiting_for_all_counts_no_stopped_job_and_returns_zero(jobs: FakeJobs) -> None:
    jobs.listed = [job for job in jobs.listed if job.is_stopped]
    assert ask(jobs, "wait") == say(0)
    assert ask(jobs, "wait", "%2") == say(148)


def test_a_disowned_job_is_forgotten_and_goes_on(jobs: FakeJobs) -> None:
    assert ask(jobs, "disown", "%1") == say(0)
    assert jobs.dropped == [1]
    assert jobs.shell.orders == [order("disown", 1)]


def test_a_shell_that_does_not_answer_is_told_of(jobs: FakeJobs) -> None:
    jobs.shell = FakeShell(None)
    assert "does not answer" in ask(jobs, "bg", "%2")
    answers: list[str] = []
    Answerer(jobs, answers.append, lambda _shell, _number: None).answer(Asked("fg", (), "", ()))
    assert "does not answer" in answers[0]
