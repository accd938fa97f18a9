"""Records folded into executions, and what every export does with their text."""

from __future__ import annotations

from substrate.record import record
from substrate.trace.events import nanoseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

SCHEMAS = "https://schemas.substrate-worlds.dev/0.1"


@record
class Execution:
    """One command: its start, its end if it has one, and the endpoints it used until then."""

    start: dict[str, Any]
    complete: dict[str, Any] | None
    net: tuple[dict[str, Any], ...] = ()

    @property
    def began_ns(self) -> int:
        """Nanoseconds since 1970."""
        return nanoseconds(self.start["ts"])

    @property
    def ended_ns(self) -> int:
        """Nanoseconds since 1970; the beginning when no end is on record."""
        return nanoseconds(self.complete["ts"]) if self.complete else self.began_ns


def executions(records: Iterable[dict[str, Any]]) -> Iterator[Execution]:
    """Yield each command when its end is read, and those without an end last.

    Holds what is running only.
    """
    running: dict[str, dict[str, Any]] = {}
    net: dict[str, list[dict[str, Any]]] = {}
    for data in records:
        span = data.get("span_id")
        if span is None:
            continue
        kind = data["event_type"]
        if kind == "command_start":
            running[span] = data
        elif kind == "net" and span in running:
            net.setdefault(span, []).append(data)
        elif kind == "command_complete" and span in running:
            yield Execution(running.pop(span), data, tuple(net.pop(span, ())))
    for span, start in running.items():
        yield Execution(start, None, tuple(net.get(span, ())))


def program(start: dict[str, Any]) -> str:
    """Return the name of a command's program, never empty."""
    argv = start.get("argv") or ["command"]
    return argv[0].rpartition("/")[2] or argv[0] or "command"


def unicode(value: Any) -> Any:
    """Return JSON whose text any reader takes: lone surrogates become U+FFFD."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {unicode(key): unicode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [unicode(item) for item in value]
    return value
