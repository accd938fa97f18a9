from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import StepError
from substrate.isolation import conversation
from substrate.isolation.conversation import Conversation, compile_plan
from substrate.isolation.steps.namespaces import HideFromPtrace
from substrate.kernel import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    Talk = Callable[..., Conversation]

CHILD = 4_000_000  # above the highest pid_max the kernel allows by default; only ever compared


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Return what begins a conversation with a process that says these things and ends."""

    def begin(*said: bytes | tuple[bytes, int]) -> Conversation:
        def spawn(_plan: Any, inputs: dict[str, int], *_rest: Any) -> int:
            with socket.socket(fileno=os.dup(inputs["sync"])) as theirs:
                for message in said:
                    body, fds = (message, []) if isinstance(message, bytes) else (
                        message[0], [message[1]])  # fmt: skip
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                    theirs.sendmsg([body], [rights] if fds else [])
            return os.posix_spawn("/bin/true", ["true"], {})

        monkeypatch.setattr(conversation, "spawn", spawn)
        return Conversation(compile_plan([HideFromPtrace()]), {}, "native")

    return begin


def test_what_a_child_says_before_it_is_known_is_kept(talk: Talk) -> None:
    begun = talk(messages.pack(messages.READY), messages.pack(messages.PID, CHILD))
    begun.follow_fork()
    assert begun.pid == CHILD
    begun.expect(messages.READY)
    begun.close()


def test_a_failure_before_the_child_is_known_is_told_once_it_is(talk: Talk) -> None:
    error = messages.pack(messages.ERROR, 0 << 12 | 1)
    begun = talk(error, messages.pack(messages.PID, CHILD))
    begun.follow_fork()
    assert begun.pid == CHILD
    with pytest.raises(StepError, match="operation not permitted"):
        begun.expect(messages.READY)
    begun.close()


def test_a_fork_that_failed_is_told_as_such(talk: Talk) -> None:
    begun = talk(messages.pack(messages.ERROR, 0 << 12 | 11))
    with pytest.raises(StepError, match="resource temporarily unavailable"):
        begun.follow_fork()
    os.waitpid(begun.spawned, 0)
    begun.close()


def test_a_process_that_vanishes_is_told_as_such(talk: Talk) -> None:
    begun = talk()
    with pytest.raises(StepError, match="ended without a word"):
        begun.follow_fork()
    os.waitpid(begun.spawned, 0)
    begun.close()


def test_descriptors_that_nobody_asked_for_are_closed(talk: Talk) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with open(os.devnull, "rb") as sent:
        begun = talk(
            (messages.pack(messages.CONSOLE), sent.fileno()), messages.pack(messages.PID, CHILD)
        )
    begun.follow_fork()
    begun.close()
    assert set(os.listdir("/proc/self/fd")) == before
