"""Calls to a service manager of systemd by D-Bus, over its own socket or through a bus daemon.

jeepney knows the wire's format. Connecting and waiting are ours: its connections say Hello, which
the manager's own socket does not answer, and log in by a uid, which is another one inside a user
namespace.
"""

from __future__ import annotations

import _socket
import os
import select
import time
from struct import error as StructError  # noqa: N812

from jeepney import DBusAddress, HeaderFields, MessageType, Parser, new_method_call

from substrate.errors import SubstrateError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from substrate.host.systemd import Door

MANAGER = "org.freedesktop.systemd1.Manager"
_NAME, _ROOT = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_BUS = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_LOGIN_TIMEOUT_S, _CALL_TIMEOUT_S = 10.0, 25.0
_WAY_OUT = "use --cgroup-manager cgroupfs"


class CallError(SubstrateError):
    """The other side answers a call with an error; `name` is that of D-Bus."""

    def __init__(self, call: str, name: str, text: str) -> None:
        super().__init__(f"systemd refuses {call}: {text or name}", _WAY_OUT)
        self.name = name


class Bus:
    """A connection to one manager. Use as a context manager.

    Every method raises `SubstrateError` when the connection breaks or nobody answers in time, and
    `CallError` for an error that the manager answers.
    """

    def __init__(self, socket: _socket.socket, *, is_bus: bool) -> None:
        self._socket = socket
        self._parser = Parser()
        self._serial = 0
        self._signals: list[tuple[str, tuple[Any, ...]]] = []
        self._log_in()
        if is_bus:
            self._call(_BUS, "Hello")
            rule = f"type='signal',sender='{_NAME}',interface='{MANAGER}',member='JobRemoved'"
            self._call(_BUS, "AddMatch", "s", (rule,))
            self.call("Subscribe")

    @classmethod
    def connect(cls, doors: Iterable[Door], whose: str) -> Bus:
        """Connect to the first door that opens; raises `UnsupportedError` when none does."""
        problems: list[str] = []
        for door in doors:
            socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            try:
                socket.settimeout(_LOGIN_TIMEOUT_S)
                socket.connect(door.address)
                return cls(socket, is_bus=door.is_bus)
            except (OSError, SubstrateError) as error:
                socket.close()
                text = error.strerror if isinstance(error, OSError) else str(error)
                problems.append(f"{door.address}: {text or error}")
        message = f"the service manager of {whose} cannot be reached: {'; '.join(problems)}"
        raise UnsupportedError(message, _WAY_OUT)

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_details: object) -> None:
        self._socket.close()

    def call(self, method: str, signature: str = "", body: tuple[Any, ...] = ()) -> Any:
        """Call a method of the manager; return the values of its answer."""
        return self._call(DBusAddress(_ROOT, _NAME, MANAGER), method, signature, body)

    def read_property(self, interface: str, name: str, path: str = _ROOT) -> Any:
        """Return a property of the manager, or of the unit whose object path is given."""
        address = DBusAddress(path, _NAME, _PROPERTIES)
        ((_, value),) = self._call(address, "Get", "ss", (interface, name))
        return value

    def wait_for_job(self, job: str, doing: str, timeout_s: float) -> str:
        """Return how a job ended ("done" is well); raises `SubstrateError` after the time."""
        deadline = time.monotonic() + timeout_s
        while True:
            for member, body in self._signals:
                if member == "JobRemoved" and body[1] == job:
                    return str(body[3])
            self._signals.clear()
            self._receive(deadline, doing)

    def _call(
        self, address: DBusAddress, method: str, signature: str = "", body: tuple[Any, ...] = ()
    ) -> Any:
        message = new_method_call(address, method, signature or None, body)
        self._serial += 1
        self._send(message.serialise(serial=self._serial), method)
        deadline = time.monotonic() + _CALL_TIMEOUT_S
        while True:
            answer = self._receive(deadline, method)
            fields = answer.header.fields
            if fields.get(HeaderFields.reply_serial) != self._serial:
                continue
            if answer.header.message_type is MessageType.error:
                text = answer.body[0] if answer.body and isinstance(answer.body[0], str) else ""
                raise CallError(method, fields.get(HeaderFields.error_name, ""), text)
            return answer.body

    def _receive(self, deadline: float, doing: str) -> Any:
        """Return the next message; signals are kept for `wait_for_job` too."""
        while (message := self._next_message(doing)) is None:
            self._wait(deadline, doing)
            try:
                data = self._socket.recv(1 << 16)
            except OSError as error:
                raise _broken(doing, error.strerror or "") from error
            if not data:
                raise _broken(doing, "it was closed")
            self._parser.add_data(data)
        if message.header.message_type is MessageType.signal:
            member = message.header.fields.get(HeaderFields.member, "")
            self._signals.append((member, message.body))
        return message

    def _next_message(self, doing: str) -> Any:
        try:
            return self._parser.get_next_message()
        except (LookupError, TypeError, ValueError, StructError) as problem:
            raise _broken(doing, "what came is no message of D-Bus") from problem

    def _wait(self, deadline: float, doing: str) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        if left <= 0 or not poll.poll(left * 1000):
            message = f"systemd does not answer in time: {doing}"
            raise SubstrateError(message, "systemctl list-jobs shows what it waits for")

    def _send(self, data: bytes, doing: str) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise _broken(doing, error.strerror or "") from error

    def _log_in(self) -> None:
        """Say who we are (D-Bus specification, EXTERNAL): the kernel tells our uid, not we."""
        # In one go, as systemd's own clients do: of what comes in together with BEGIN, the manager
        # keeps a message lying until it gets another one.
        self._send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", "logging in")
        self._expect_line(b"DATA")
        self._expect_line(b"OK ")

    def _expect_line(self, start: bytes) -> None:
        deadline = time.monotonic() + _LOGIN_TIMEOUT_S
        line = b""
        while not line.endswith(b"\r\n"):
            self._wait(deadline, "logging in")
            # Byte by byte: what comes after the line is none of the login.
            byte = self._socket.recv(1)
            if not byte:
                raise _broken("logging in", "it was closed")
            line += byte
        if not line.startswith(start):
            message = f"systemd does not let uid {os.getuid()} in: {line.decode().strip()}"
            raise SubstrateError(message, _WAY_OUT)


def _broken(doing: str, text: str) -> SubstrateError:
    message = f"the connection to systemd broke at {doing}: {text}"
    return SubstrateError(message, "systemctl is-system-running")
