"""HTTP/1.1 messages over a connected socket, by h11: whole requests, whole and streamed answers.

h11 decides what is HTTP; here are only limits, and which bytes go where. See decision 0010.
"""

from __future__ import annotations

import socket

import h11

from substrate import jsontext
from substrate.errors import SubstrateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_CHUNK = 1 << 16
HEADER_BYTES = 1 << 14
BODY_BYTES = 1 << 24
JSON_TYPE = "application/json"
STREAM_TYPE = "application/x-ndjson"


class ClosedError(ConnectionError):
    """The other side has gone."""


class Channel:
    """One side of a connection. Use as a context manager; it owns the socket."""

    def __init__(self, connected: socket.socket, role: Any) -> None:
        self.socket = connected
        self._http = h11.Connection(role, max_incomplete_event_size=HEADER_BYTES)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_details: object) -> None:
        self.socket.close()

    def receive_head(self) -> Any:
        """Return the head of the next message. Raises `ClosedError` when there is none."""
        return self._next()

    def receive_body(self, limit: int = BODY_BYTES) -> bytes:
        """Return the rest of the message. Raises `UsageError` when it is longer."""
        return b"".join(self._pieces(limit))

    def receive_lines(self) -> Iterator[bytes]:
        """Yield the lines of a streamed body as they come."""
        rest = b""
        for piece in self._pieces(None):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def send(self, *events: Any) -> None:
        """Send parts of a message. Raises `ClosedError` when nobody reads them."""
        data = b"".join(self._http.send(event) or b"" for event in events)
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ClosedError(str(error)) from None

    def linger(self, timeout_s: float = 1.0) -> None:
        """Let an answer be read that was given before the request was: closing now would cut it."""
        self.socket.settimeout(timeout_s)
        try:
            self.socket.shutdown(socket.SHUT_WR)
            for _ in range(HEADER_BYTES // _CHUNK + 1):
                if not self.socket.recv(_CHUNK):
                    return
        except OSError:
            return

    def next_message(self) -> bool:
        """Make ready for another message; False when the connection is at its end."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _pieces(self, limit: int | None) -> Iterator[bytes]:
        length = 0
        while not isinstance(event := self._next(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ClosedError("the message was cut short")
            length += len(event.data)
            if limit is not None and length > limit:
                message = f"the body is longer than {limit} bytes"
                raise UsageError(message)
            yield bytes(event.data)

    def _next(self) -> Any:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(self._read())
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                raise ClosedError("the connection was closed")
            else:
                return event

    def _read(self) -> bytes:
        try:
            return self.socket.recv(_CHUNK)
        except TimeoutError:
            raise ClosedError("nothing came for too long") from None
        except OSError as error:
            raise ClosedError(str(error)) from None


def json_body(value: Any) -> bytes:
    """Return a JSON value as a body: one line."""
    return jsontext.dumps(value).encode() + b"\n"


def read_json(body: bytes) -> Any:
    """Return the value of a JSON body. Raises `UsageError`."""
    try:
        return jsontext.loads(body)
    except ValueError as error:
        message = f"the body is not JSON: {error}"
        raise UsageError(message) from None


def head_of(status: int, kind: str, length: int | None) -> h11.Response:
    """Return the head of an answer; without a length its body is streamed."""
    framing = ("Transfer-Encoding", "chunked")
    if length is not None:
        framing = ("Content-Length", str(length))
    return h11.Response(status_code=status, headers=[("Content-Type", kind), framing])


def error_json(error: SubstrateError) -> dict[str, Any]:
    """Return an error as a client can raise it again."""
    return {
        "error": error.message,
        "hint": error.hint,
        "kind": type(error).__name__,
        "status": error.status,
    }
