"""OpenTelemetry: one `TracesData` a line, as the Collector's file exporter has it.

The JSON encoding of OTLP is protobuf's with hexadecimal ids, enumerations as numbers and 64-bit
integers as strings. Attribute names are those of the semantic conventions for processes and for
generative AI, ours begin with `substrate.`.
"""

from __future__ import annotations

from substrate import __version__
from substrate.trace.exports.executions import Execution, executions, program, unicode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

_KIND_INTERNAL, _KIND_CLIENT = 1, 3
_STATUS_ERROR = 2
_SAMPLED = 0x01


def otlp(records: Iterable[dict[str, Any]], host: str = "") -> Iterator[dict[str, Any]]:
    """Yield one `TracesData` for each command."""
    resource = {"service.name": "substrate", "service.version": __version__}
    if host:
        resource["host.name"] = host
    for execution in executions(records):
        spans = [_span(execution)]
        scope = {"name": "substrate.trace", "version": __version__}
        yield unicode(
            {
                "resourceSpans": [
                    {
                        "resource": {"attributes": _attributes(resource)},
                        "scopeSpans": [{"scope": scope, "spans": spans}],
                    }
                ]
            }
        )


def _span(execution: Execution) -> dict[str, Any]:
    start, complete = execution.start, execution.complete or {}
    span: dict[str, Any] = {
        "traceId": start["session_id"],
        "spanId": start["span_id"],
        "name": program(start),
        "kind": _KIND_CLIENT if start.get("execution_origin") != "host" else _KIND_INTERNAL,
        "startTimeUnixNano": str(execution.began_ns),
        "endTimeUnixNano": str(execution.ended_ns),
        "flags": _SAMPLED,
        "attributes": _attributes(_facts(start, complete)),
        "events": list(_events(execution)),
        "status": {},
    }
    if "parent_span" in start:
        span["parentSpanId"] = start["parent_span"]
    if complete.get("exit") or complete.get("error"):
        message = complete.get("error") or f"exit status {complete['exit']}"
        span["status"] = {"code": _STATUS_ERROR, "message": message}
    return span


def _facts(start: dict[str, Any], complete: dict[str, Any]) -> dict[str, Any]:
    decision = start.get("policy_decision", {})
    facts = {
        "process.executable.name": program(start),
        "process.command_args": start["argv"],
        "process.working_directory": start["cwd"],
        "process.exit.code": complete.get("exit"),
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": program(start),
        "gen_ai.agent.id": start.get("agent_id"),
        "substrate.world.id": start.get("world_id"),
        "substrate.policy.id": start.get("policy_id"),
        "substrate.policy.action": decision.get("action"),
        "substrate.policy.rule": decision.get("rule"),
        "substrate.redacted": start.get("redacted"),
        "substrate.signal": complete.get("signal"),
        "substrate.net.scopes": complete.get("scopes_used"),
        "substrate.degraded": complete.get("degraded") or start.get("degraded"),
        "substrate.unfinished": None if complete else True,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _events(execution: Execution) -> Iterator[dict[str, Any]]:
    from substrate.trace.events import nanoseconds

    for data in execution.net:
        facts = {
            "server.address": data.get("host") or data.get("ip"),
            "server.port": data.get("port"),
            "network.transport": data.get("protocol"),
            "substrate.net.verdict": data["verdict"],
        }
        yield _event(nanoseconds(data["ts"]), "substrate.net", facts)
    diff = (execution.complete or {}).get("fs_diff", {})
    for name, word in (("writes", "created"), ("mods", "modified"), ("deletes", "deleted")):
        for path in diff.get(name, ()):
            facts = {"file.path": path, "substrate.file.change": word}
            yield _event(execution.ended_ns, "substrate.file", facts)


def _event(time_ns: int, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in facts.items() if value is not None}
    return {"timeUnixNano": str(time_ns), "name": name, "attributes": _attributes(given)}


def _attributes(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in facts.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
