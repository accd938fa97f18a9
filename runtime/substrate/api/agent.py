"""The world agent: one session's world as an HTTP/1.1 JSON service on a Unix socket.

A thread for each connection. Whose session it is, what its policy says and which project it has
is the server's: a request can ask for a command, never for other rules.
"""

from __future__ import annotations

import select
import threading

import h11

from substrate import __version__
from substrate.api import codec
from substrate.api.listening import refusal
from substrate.api.messages import (
    JSON_TYPE,
    STREAM_TYPE,
    Channel,
    ClosedError,
    error_json,
    head_of,
    json_body,
    read_json,
)
from substrate.api.records import ExecRequest, WorldSpec
from substrate.errors import (
    RefusedError,
    SpanNotFoundError,
    SubstrateError,
    UnsupportedError,
    UsageError,
    WorldNotFoundError,
    WorldStateError,
)
from substrate.record import replace
from substrate.trace.ids import new_span_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from substrate.api.inprocess import InProcessWorld
    from substrate.api.records import ExecResult

_IDLE_S = 60.0
_MOST_CONNECTIONS = 64
_FEATURES = ("execute", "stream", "cancel", "fs_diff", "pty", "timeout")
_STATUSES = (
    (UsageError, 400),
    (RefusedError, 403),
    (WorldNotFoundError, 404),
    (SpanNotFoundError, 404),
    (WorldStateError, 409),
    (UnsupportedError, 501),
)


class NotFoundError(SubstrateError):
    """The service has no such thing."""


class Agent:
    """Serves one session. `probes` is what `doctor` found when the agent began."""

    def __init__(
        self, world: InProcessWorld, spec: WorldSpec, probes: list[dict[str, Any]]
    ) -> None:
        self._world = world
        self._spec = spec
        self._probes = probes
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def serve(self, listening: socket.socket) -> None:
        """Serve until the listening socket is shut down."""
        while True:
            self._places.acquire()
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(connected,), daemon=True).start()

    def _attend(self, connected: socket.socket) -> None:
        try:
            with Channel(connected, h11.SERVER) as channel:
                connected.settimeout(_IDLE_S)
                reason = refusal(connected)
                if reason:
                    _try_answer(channel, 403, error_json(RefusedError(reason)))
                    channel.linger()
                    return
                while self._serve_one(channel) and channel.next_message():
                    pass
        finally:
            self._places.release()

    def _serve_one(self, channel: Channel) -> bool:
        """Serve one request; False when the connection is no good any more."""
        try:
            request = channel.receive_head()
            body = channel.receive_body()
            self._route(channel, request.method.decode(), request.target.decode(), body)
        except ClosedError:
            return False
        except h11.RemoteProtocolError as error:
            _try_answer(channel, error.error_status_hint, {"error": str(error)})
            return False
        except SubstrateError as error:
            return _try_answer(channel, _status_of(error), error_json(error))
        except Exception as error:
            told = SubstrateError(f"internal error: {type(error).__name__}: {error}")
            _try_answer(channel, 500, error_json(told))
            return False
        return True

    def _route(self, channel: Channel, method: str, target: str, body: bytes) -> None:
        path = target.partition("?")[0]
        if (method, path) == ("POST", "/v1/execute/stream"):
            self._stream(channel, _request_of(body))
            return
        if (method, path) == ("POST", "/v1/execute"):
            answer: Any = codec.to_json(self._execute(channel, _request_of(body)))
        elif method == "GET":
            answer = self._look(path)
        else:
            answer = self._act(method, path, body)
        _answer(channel, 200, answer)

    def _look(self, path: str) -> Any:
        match path.strip("/").split("/"):
            case ["v1", "capabilities"]:
                return {"version": __version__, "features": list(_FEATURES)}
            case ["v1", "doctor"]:
                return {"probes": self._probes}
            case ["v1", "worlds"]:
                return {"worlds": [{"id": self._world.session.world_id}]}
            case ["v1", "spans", span_id]:
                return {"records": self._world.span(codec.span_id(span_id))}
            case ["v1", "spans", span_id, "fs_diff"]:
                return codec.to_json(self._world.fs_diff(codec.span_id(span_id)))
            case ["v1", "spans", span_id, "scopes"]:
                return codec.to_json(self._world.scopes(codec.span_id(span_id)))
            case _:
                raise _not_found("GET", path)

    def _act(self, method: str, path: str, body: bytes) -> Any:
        match (method, path):
            case ("PUT", "/v1/session"):
                return {"world_id": self._ensure(codec.from_json(WorldSpec, read_json(body)))}
            case ("DELETE", "/v1/session"):
                self._world.destroy()
                return {}
            case ("POST", "/v1/policy/reload"):
                self._world.apply_policy()
                return {}
            case ("POST", "/v1/execute/cancel"):
                return {"signalled": self._cancel(read_json(body))}
            case _:
                raise _not_found(method, path)

    def _ensure(self, asked: WorldSpec) -> str:
        for name in ("id", "bundle", "project_dir"):
            wanted = getattr(asked, name)
            if wanted is not None and wanted != getattr(self._spec, name):
                message = f"this agent's {name} is {getattr(self._spec, name)}, not {wanted}"
                raise RefusedError(message, "start an agent there")
        return self._world.ensure_session(self._spec)

    def _execute(self, channel: Channel, request: ExecRequest) -> ExecResult:
        return _Execution(self._world, channel, request).run(None)

    def _stream(self, channel: Channel, request: ExecRequest) -> None:
        channel.send(head_of(200, STREAM_TYPE, None))

        def send(frame: dict[str, Any]) -> None:
            channel.send(h11.Data(data=json_body(frame)))

        def send_output(name: str, data: bytes) -> None:
            send({"type": name} | _text_or_base64(data))

        start = {"type": "start", "span_id": request.span_id}
        send(start | {"world_id": self._world.session.world_id})
        try:
            result = _Execution(self._world, channel, request).run(send_output)
            send({"type": "exit", "result": codec.to_json(result)})
        except SubstrateError as error:
            send({"type": "error"} | error_json(error))
        channel.send(h11.EndOfMessage())

    def _cancel(self, asked: Any) -> bool:
        if not isinstance(asked, dict) or not set(asked) <= {"span_id", "signal"}:
            message = "$: expected span_id and signal"
            raise UsageError(message)
        number = asked.get("signal", 15)
        if not isinstance(number, int) or not 1 <= number <= 64:
            message = f"$.signal: expected the number of a signal, got {number!r}"
            raise UsageError(message)
        return self._world.cancel(codec.span_id(asked.get("span_id")), number)


class _Execution:
    """A command for a client; when the client goes away the command is ended."""

    def __init__(self, world: InProcessWorld, channel: Channel, request: ExecRequest) -> None:
        self._world = world
        self._channel = channel
        self._request = request
        self._done = threading.Event()

    def run(self, on_output: Callable[[str, bytes], None] | None) -> ExecResult:
        """Run it to its end."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        gone = False

        def output(name: str, data: bytes) -> None:
            nonlocal gone
            if on_output is not None and not gone:
                try:
                    on_output(name, data)
                except ClosedError:
                    gone = True

        try:
            result = self._world.exec(self._request, output)
        finally:
            self._done.set()
            watcher.join()
        if gone:
            raise ClosedError("the client has gone")
        return result

    def _watch(self) -> None:
        for number in (15, 9):
            while not self._done.is_set() and not self._has_gone():
                self._done.wait(0.2)
            if self._done.is_set():
                return
            self._world.cancel(self._request.span_id or "", number)
            self._done.wait(2.0)

    def _has_gone(self) -> bool:
        # Not by a read: of a socket with a timeout, Python's waits.
        poll = select.poll()
        poll.register(self._channel.socket, select.POLLRDHUP)
        return bool(poll.poll(0))


def _request_of(body: bytes) -> ExecRequest:
    request = codec.from_json(ExecRequest, read_json(body))
    return request if request.span_id else replace(request, span_id=new_span_id())


def _not_found(method: str, path: str) -> NotFoundError:
    return NotFoundError(f"there is no {method} {path}")


def _text_or_base64(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        from binascii import b2a_base64

        return {"base64": b2a_base64(data, newline=False).decode("ascii")}


def _status_of(error: SubstrateError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def _answer(channel: Channel, status: int, value: Any) -> None:
    body = json_body(value)
    channel.send(head_of(status, JSON_TYPE, len(body)), h11.Data(data=body), h11.EndOfMessage())


def _try_answer(channel: Channel, status: int, value: Any) -> bool:
    try:
        _answer(channel, status, value)
    except (ClosedError, h11.LocalProtocolError):
        return False
    return True
