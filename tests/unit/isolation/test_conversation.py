"""What a setup process said before it ended is heard, whatever it left unread."""

from __future__ import annotations

import socket

import pytest

from substrate.errors import StepError
from substrate.isolation.conversation import Conversation
from substrate.kernel import messages


def conversation() -> tuple[Conversation, socket.socket]:
    """Return a conversation without a plan, and the plan's end of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    talk = Conversation.__new__(Conversation)
    vars(talk).update({"_socket": ours, "_early": [], "_goes_ahead": False, "pid": 0})
    return talk, theirs


def test_last_words_are_heard_although_ours_were_not() -> None:
    talk, theirs = conversation()
    talk.go()
    theirs.send(messages.pack(messages.READY, 7))
    theirs.close()
    assert talk.expect(messages.READY) == 7
    talk.close()


def test_who_may_go_ahead_finds_one_word_at_its_gate() -> None:
    talk, theirs = conversation()
    talk.go_ahead()
    talk.go()
    theirs.send(messages.pack(messages.READY))
    talk.expect(messages.READY)
    assert theirs.recv(messages.SIZE) == messages.pack(messages.GO)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(messages.SIZE)
    theirs.close()
    talk.wait_for_exec()
    talk.close()


def test_who_failed_before_it_could_go_ahead_is_heard_where_it_is_waited_for() -> None:
    talk, theirs = conversation()
    theirs.send(messages.pack(messages.PID, 5))
    theirs.close()
    talk.go_ahead()
    assert talk.expect(messages.PID) == 5
    with pytest.raises(StepError, match="ended without a word"):
        talk.expect(messages.READY)
    talk.close()
