"""What is relayed of an output, and what is told when it was too much."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.world.output import Budget, Limited, OutputPipes


@given(st.lists(st.binary(max_size=20)), st.integers(0, 60))
def test_a_budget_passes_on_exactly_its_bytes(pieces: list[bytes], limit: int) -> None:
    budget = Budget(limit)
    passed = b"".join(budget.take(piece) for piece in pieces)
    whole = b"".join(pieces)
    assert passed == whole[:limit]
    assert budget.is_exceeded == (len(whole) > limit)


def test_what_is_told_names_limit_and_remedy() -> None:
    budget = Budget(2048)
    assert budget.hit("the world") is None
    budget.take(b"x" * 2049)
    hit = budget.hit("the world")
    assert hit is not None
    assert hit.to_json() == {
        "name": "output", "limit": 2048, "peak": 2049, "killed": 1, "fatal": True,
        "message": "too much output: the limit of 2 KiB was reached and the world was ended with"
                   " all its processes",
        "hint": "raise it with substrate.limits.output",
    }  # fmt: skip


def test_pipes_are_closed_wherever_it_ends() -> None:
    before = os.listdir("/proc/self/fd")
    pipes = OutputPipes(10)
    assert set(pipes.theirs) == {"stdout", "stderr"}
    pipes.give()
    pipes.close()
    pipes.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_terminal_has_no_pipes() -> None:
    limited = Limited(10, terminal=True)
    assert limited.inputs == {}
    limited.budget.take(b"x" * 11)
    limited.what = "the command"
    (hit,) = limited.hits()
    assert "the command was ended" in hit.sentence


@pytest.mark.parametrize("limit", [5, 11, 100])
def test_relay_copies_what_comes_until_the_process_has_ended(
    limit: int, capfd: pytest.CaptureFixture[str]
) -> None:
    pipes = OutputPipes(limit)
    pid = os.fork()
    if pid == 0:
        os.write(pipes.theirs["stdout"], b"hello ")
        os.write(pipes.theirs["stderr"], b"world")
        os._exit(0)
    pipes.give()
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    pipes.relay(pidfd)
    os.close(pidfd)
    pipes.close()
    out, err = capfd.readouterr()
    assert len(out) + len(err) == min(limit, 11)
    assert pipes.budget.is_exceeded == (limit < 11)
