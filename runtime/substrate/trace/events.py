"""What can be on record: one class per kind of event, each with one shape in JSON.

A field at its default is left out of the JSON, and nothing else is: `to_json` and `from_json`
are each other's reverse. What each field means is said in `schemas/span.schema.json`.
"""

from __future__ import annotations

import time

from substrate.errors import TraceError
from substrate.record import field_defaults, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
SEGMENT_OPEN = "segment_open"


@record
class Origin:
    """Whose event it is. `component` is the program that says so."""

    session_id: str
    span_id: str | None = None
    parent_span: str | None = None
    component: str = "substrate"
    world_id: str | None = None
    policy_id: str | None = None
    agent_id: str | None = None


@record
class Decision:
    """What the policy said to a command: allow, isolate, deny or would_deny, and by which rule."""

    action: str
    rule: str | None = None
    source: str | None = None
    reason: str | None = None


@record
class Stream:
    """What went through a standard stream: its length and digest; `kind` for standard input."""

    bytes: int
    sha256: str | None = None
    kind: str | None = None


@record
class ReplayContext:
    """Which span is done again, and on what: the recorded layers below it or something else."""

    of_span: str
    base: str = "layers"
    note: str | None = None


@record
class CommandStart:
    """A command is about to run. `argv` is redacted; the exact one is in the span record."""

    origin: Origin
    cwd: str
    argv: tuple[str, ...]
    argv_sha256: str
    argv_omitted: int = 0
    redacted: int = 0
    cmd: str | None = None
    request_sha256: str | None = None
    execution_origin: str = "world"
    policy_decision: Decision | None = None
    replay_context: ReplayContext | None = None
    degraded: tuple[str, ...] = ()

    KIND = "command_start"


@record
class CommandComplete:
    """A command has ended, or could not be run (`error`)."""

    origin: Origin
    exit: int
    duration_ms: float
    signal: int | None = None
    timed_out: bool = False
    error: str | None = None
    scopes_used: tuple[str, ...] = ()
    fs_diff: dict[str, Any] | None = None
    stdin: Stream | None = None
    stdout: Stream | None = None
    stderr: Stream | None = None
    resources: dict[str, Any] | None = None
    execution_origin: str = "world"
    degraded: tuple[str, ...] = ()
    evidence: dict[str, Any] | None = None

    KIND = "command_complete"


@record
class NetEvent:
    """One remote endpoint was used, or refused. `scope` is `host:port/protocol`."""

    origin: Origin
    scope: str
    verdict: str
    host: str | None = None
    ip: str | None = None
    port: int | None = None
    protocol: str | None = None
    count: int = 1
    bytes_sent: int | None = None
    bytes_received: int | None = None
    reason: str | None = None

    KIND = "net"


@record
class PolicyEvent:
    """The policy spoke and no start followed, or its text changed (`argv` is empty then)."""

    origin: Origin
    policy_decision: Decision
    cwd: str | None = None
    argv: tuple[str, ...] = ()
    argv_sha256: str | None = None
    argv_omitted: int = 0
    redacted: int = 0
    cmd: str | None = None

    KIND = "policy"


@record
class ReplayEvent:
    """A span was done again; `verdict` is identical or differs, `differences` the first of them."""

    origin: Origin
    replay_context: ReplayContext
    verdict: str
    differences: tuple[str, ...] = ()
    differences_total: int = 0

    KIND = "replay"


@record
class AcceptEvent:
    """Changes of spans were accepted, discarded or undone, or it was refused."""

    origin: Origin
    action: str
    outcome: str
    spans: tuple[str, ...] = ()
    fs_diff: dict[str, Any] | None = None
    reason: str | None = None

    KIND = "accept"


@record
class WorldEvent:
    """A world came, changed or went."""

    origin: Origin
    action: str
    bundle_sha256: str | None = None
    exit: int | None = None
    reason: str | None = None
    degraded: tuple[str, ...] = ()
    evidence: dict[str, Any] | None = None

    KIND = "world"


Event = (
    CommandStart | CommandComplete | NetEvent | PolicyEvent | ReplayEvent | AcceptEvent | WorldEvent
)
KINDS: dict[str, type[Any]] = {
    cls.KIND: cls
    for cls in (
        CommandStart,
        CommandComplete,
        NetEvent,
        PolicyEvent,
        ReplayEvent,
        AcceptEvent,
        WorldEvent,
    )
}
# One name means one thing in every kind.
_NESTED: dict[str, type[Any]] = {
    "policy_decision": Decision,
    "replay_context": ReplayContext,
    "stdin": Stream,
    "stdout": Stream,
    "stderr": Stream,
}
_ABSENT = object()


def to_json(event: Event, ts: str) -> dict[str, Any]:
    """Return an event as JSON; `ts` as `timestamp` makes it. `v` and `ts` come first, always."""
    data: dict[str, Any] = {"v": VERSION, "ts": ts, "event_type": event.KIND}
    _add_fields(event.origin, data)
    _add_fields(event, data)
    return data


def from_json(data: dict[str, Any]) -> tuple[str, Event]:
    """Return the time and the event of a record; raises `TraceError` when it is none of ours.

    Values are taken as they are: `shape.faults` is what judges a record from elsewhere.
    """
    kind = data.get("event_type")
    if data.get("v") != VERSION or not isinstance(kind, str) or kind not in KINDS:
        message = f"not a record of this version: v={data.get('v')!r}, event_type={kind!r}"
        raise TraceError(message, "read it with the version of Substrate that wrote it")
    try:
        values = {key: _typed(key, value) for key, value in data.items()}
        del values["v"], values["event_type"]
        ts = values.pop("ts")
        own = {name: values.pop(name) for name in Origin.__match_args__ if name in values}
        event: Event = KINDS[kind](Origin(**own), **values)
    except (TypeError, KeyError) as error:
        message = f"a {kind} record does not have the fields of one: {error}"
        raise TraceError(message, "substrate trace verify") from None
    return ts, event


def timestamp(now_ns: int | None = None) -> str:
    """Return a time (nanoseconds since 1970, or now) as RFC 3339 in UTC, 30 characters."""
    seconds, fraction = divmod(time.time_ns() if now_ns is None else now_ns, 1_000_000_000)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    clock = f"{hour:02}:{minute:02}:{second:02}.{fraction:09}"
    return f"{year:04}-{month:02}-{day:02}T{clock}Z"


def nanoseconds(ts: str) -> int:
    """Return the nanoseconds since 1970 of a time that `timestamp` made."""
    from calendar import timegm

    numbers = (ts[0:4], ts[5:7], ts[8:10], ts[11:13], ts[14:16], ts[17:19])
    seconds = timegm(tuple(map(int, numbers)))
    return seconds * 1_000_000_000 + int(ts[20:29])


def _add_fields(instance: Any, data: dict[str, Any]) -> None:
    for name, default in _fields(type(instance)):
        value = getattr(instance, name)
        # By identity or value; a list or a dict is never a default.
        if value is default or value == default:
            continue
        data[name] = _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if type(value) in _RECORDS:
        inner: dict[str, Any] = {}
        _add_fields(value, inner)
        return inner
    return value


def _typed(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    nested = _NESTED.get(name)
    if nested is not None and isinstance(value, dict):
        return nested(**value)
    return value


_RECORDS = frozenset((Decision, Stream, ReplayContext))
_FIELDS: dict[type[Any], tuple[tuple[str, Any], ...]] = {}


def _fields(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Return the names and defaults of a record's own fields, without `origin`."""
    found = _FIELDS.get(cls)
    if found is None:
        defaults = field_defaults(cls)
        names = (name for name in cls.__match_args__ if name != "origin")
        found = _FIELDS[cls] = tuple((name, defaults.get(name, _ABSENT)) for name in names)
    return found
