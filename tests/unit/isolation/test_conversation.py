"""What a setup process said before it ended is heard, whatever it left unread."""

from __future__ import annotations

import socket

from substrate.isolation.conversation import Conversation
from substrate.kernel import messages


def test_last_words_are_heard_although_ours_were_not() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    talk = Conversation.__new__(Conversation)
    vars(talk).update({"_socket": ours, "_early": [], "pid": 0})
    ours.send(messages.pack(messages.GO))
    theirs.send(messages.pack(messages.READY, 7))
    theirs.close()
    assert talk.expect(messages.READY) == 7
    talk.close()
