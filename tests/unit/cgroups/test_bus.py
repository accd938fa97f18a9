"""The wire to a service manager: logging in, answers, errors and signals in any order."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from jeepney import DBusAddress, MessageType, Parser, new_error, new_method_return, new_signal

from substrate.cgroups.bus import MANAGER, Bus, CallError
from substrate.errors import SubstrateError, UnsupportedError
from substrate.host.systemd import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jeepney import Message

_EMITTER = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", MANAGER)

if TYPE_CHECKING:
    Answer = Callable[[Message], list[Message]]


class Peer:
    """The other end of one connection; answers each call as told."""

    def __init__(self, folder: Path) -> None:
        self.door = Door(str(folder / "door"), is_bus=False)
        self.answer: Answer = lambda call: [new_method_return(call)]
        self.greeting = [b"DATA\r\n", b"OK 0123\r\n"]
        self.noise = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.door.address)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        # The caller hangs up on what is no answer, perhaps before all of it was said.
        with connection, suppress(ConnectionError):
            said = connection.recv(1 << 16)
            assert said == b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
            for line in self.greeting:
                connection.sendall(line)
            parser = Parser()
            serial = 100
            connection.sendall(self.noise)
            while data := connection.recv(1 << 16):
                for call in parser.feed(data):
                    messages = self.answer(call)
                    for message in messages:
                        serial += 1
                        # In pieces, as a stream may come.
                        raw = message.serialise(serial=serial)
                        connection.sendall(raw[:7])
                        connection.sendall(raw[7:])
                    if not messages:
                        return


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with Peer(tmp_path) as made:
        yield made


def removed(job: str, result: str) -> Message:
    return new_signal(_EMITTER, "JobRemoved", "uoss", (7, job, "x.scope", result))


def test_a_call_returns_what_is_answered(peer: Peer) -> None:
    peer.answer = lambda call: [new_method_return(call, "s", call.body)]
    with Bus.connect([Door("/nowhere", is_bus=False), peer.door], "nobody") as bus:
        assert bus.call("Echo", "s", ("hello",)) == ("hello",)


def test_an_error_is_raised_with_its_name(peer: Peer) -> None:
    peer.answer = lambda call: [new_error(call, "org.example.No", "s", ("not today",))]
    with Bus.connect([peer.door], "nobody") as bus, pytest.raises(CallError) as caught:
        bus.call("StartTransientUnit")
    assert caught.value.name == "org.example.No"
    assert str(caught.value) == "systemd refuses StartTransientUnit: not today"


@pytest.mark.parametrize("before", [True, False])
def test_a_job_ends_before_or_after_its_call_is_answered(peer: Peer, before: bool) -> None:
    def answer(call: Message) -> list[Message]:
        signals = [removed("/job/6", "done"), removed("/job/7", "canceled")]
        reply = new_method_return(call, "o", ("/job/7",))
        return [*signals, reply] if before else [reply, *signals]

    peer.answer = answer
    with Bus.connect([peer.door], "nobody") as bus:
        (job,) = bus.call("StartUnit")
        assert bus.wait_for_job(job, "starting", 10) == "canceled"


def test_a_job_that_never_ends_is_an_error(peer: Peer) -> None:
    with Bus.connect([peer.door], "nobody") as bus:
        bus.call("StartUnit")
        with pytest.raises(SubstrateError, match="does not answer in time: starting x"):
            bus.wait_for_job("/job/7", "starting x", 0.01)


def test_a_connection_that_closes_is_an_error(peer: Peer) -> None:
    def hang_up(call: Message) -> list[Message]:
        assert call.header.message_type is MessageType.method_call
        return []

    peer.answer = hang_up
    with Bus.connect([peer.door], "nobody") as bus:
        with pytest.raises(SubstrateError, match="broke at GetUnit"):
            bus.call("GetUnit")
        with pytest.raises(SubstrateError, match="broke at GetUnit"):
            bus.call("GetUnit")


def test_who_is_not_let_in_is_told_every_door(peer: Peer) -> None:
    peer.greeting = [b"REJECTED EXTERNAL\r\n"]
    with pytest.raises(UnsupportedError) as caught:
        Bus.connect([Door("/nowhere", is_bus=False), peer.door], "uid 1")
    assert str(caught.value).startswith("the service manager of uid 1 cannot be reached: /nowhere:")
    assert "REJECTED" in str(caught.value)
    assert caught.value.hint == "use --cgroup-manager cgroupfs"


@pytest.mark.parametrize("noise", [b"x" * 64, b"l\1\0\1" + b"\0" * 60, bytes(range(64))])
def test_what_is_no_message_is_an_error(peer: Peer, noise: bytes) -> None:
    peer.noise = noise
    said = "broke at GetUnit: what came is no message"
    with Bus.connect([peer.door], "nobody") as bus, pytest.raises(SubstrateError, match=said):
        bus.call("GetUnit")
