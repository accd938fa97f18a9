"""The world API of an agent elsewhere on this machine, by its socket."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import h11

from substrate import errors
from substrate.api import codec
from substrate.api.messages import Channel, ClosedError, json_body, read_json
from substrate.api.records import ExecResult, Scope
from substrate.errors import SubstrateError
from substrate.record import replace
from substrate.trace.ids import new_span_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from substrate.api.protocol import OnOutput
    from substrate.api.records import ExecRequest, WorldSpec
    from substrate.filesystem.entries import FsDiff


_CUT_SHORT = "the agent's answer ended early"


class AgentWorld:
    """One session behind an agent's socket. Every call is a connection of its own."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ensure_session(self, spec: WorldSpec) -> str:
        """Have the agent make its world, or find it running; return its id."""
        return str(self._call("PUT", "/v1/session", codec.to_json(spec))["world_id"])

    def exec(self, request: ExecRequest, on_output: OnOutput | None = None) -> ExecResult:
        """Run a command to its end."""
        if on_output is None:
            answer = self._call("POST", "/v1/execute", codec.to_json(request))
            return codec.from_json(ExecResult, answer)
        return self._stream(request, on_output)

    def cancel(self, span_id: str, signal: int = 15) -> bool:
        """Send a signal to a running command; False when it does not run."""
        asked = {"span_id": span_id, "signal": signal}
        return bool(self._call("POST", "/v1/execute/cancel", asked)["signalled"])

    def fs_diff(self, span_id: str) -> FsDiff:
        """Return what a span changed."""
        return codec.fs_diff(self._call("GET", f"/v1/spans/{span_id}/fs_diff"))

    def scopes(self, span_id: str) -> tuple[Scope, ...]:
        """Return the remote endpoints a span used."""
        listed = self._call("GET", f"/v1/spans/{span_id}/scopes")
        return tuple(codec.from_json(Scope, item) for item in listed)

    def apply_policy(self) -> None:
        """Have the agent read its policy again."""
        self._call("POST", "/v1/policy/reload")

    def destroy(self) -> None:
        """End the agent's world; the agent itself goes on."""
        self._call("DELETE", "/v1/session")

    def capabilities(self) -> dict[str, Any]:
        """Return the agent's version and what it can do."""
        found: dict[str, Any] = self._call("GET", "/v1/capabilities")
        return found

    def _stream(self, request: ExecRequest, on_output: OnOutput) -> ExecResult:
        request = replace(request, span_id=request.span_id or new_span_id())
        with self._ask("POST", "/v1/execute/stream", codec.to_json(request)) as channel, _whole():
            head = channel.receive_head()
            if head.status_code != 200:
                raise _error_of(read_json(channel.receive_body()))
            for line in channel.receive_lines():
                frame = read_json(line)
                kind = frame["type"]
                if kind == "exit":
                    return codec.from_json(ExecResult, frame["result"])
                if kind == "error":
                    raise _error_of(frame)
                if kind in ("stdout", "stderr"):
                    on_output(kind, _bytes_of(frame))
        raise SubstrateError(_CUT_SHORT, "is the agent still running?")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        with self._ask(method, path, body) as channel, _whole():
            head = channel.receive_head()
            answer = read_json(channel.receive_body())
            if head.status_code != 200:
                raise _error_of(answer)
            return answer

    def _ask(self, method: str, path: str, body: Any) -> Channel:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.connect(self._path)
        except OSError as error:
            connected.close()
            message = f"no agent answers at {self._path}: {error.strerror}"
            raise SubstrateError(message, "substrate agent starts one") from None
        channel = Channel(connected, h11.CLIENT)
        data = b"" if body is None else json_body(body)
        headers = [
            ("Host", "substrate"),
            ("Content-Length", str(len(data))),
            ("Connection", "close"),
        ]
        head = h11.Request(method=method, target=path, headers=headers)
        try:
            channel.send(head, h11.Data(data=data), h11.EndOfMessage())
        except ClosedError:
            # It may have answered before it had read everything.
            return channel
        except BaseException:
            connected.close()
            raise
        return channel


@contextmanager
def _whole() -> Generator[None, None, None]:
    """Turn what a connection's early end raises into an error for people."""
    try:
        yield
    except (ClosedError, h11.RemoteProtocolError) as error:
        message = f"{_CUT_SHORT}: {error}"
        raise SubstrateError(message, "is the agent still running?") from None


def _error_of(answer: Any) -> SubstrateError:
    """Return the error that the agent had, of the same class where it is one of ours."""
    kind = getattr(errors, str(answer.get("kind", "")), SubstrateError)
    if not (isinstance(kind, type) and issubclass(kind, SubstrateError)):
        kind = SubstrateError
    if kind in (errors.BundleError, errors.StepError):
        kind = SubstrateError
    return kind(str(answer.get("error", "")), str(answer.get("hint", "")))


def _bytes_of(frame: dict[str, str]) -> bytes:
    if "text" in frame:
        return frame["text"].encode("utf-8")
    from binascii import a2b_base64

    return a2b_base64(frame["base64"])
