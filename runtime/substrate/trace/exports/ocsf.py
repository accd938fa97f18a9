"""OCSF 1.3, for security monitoring: Process Activity (1007), a launch and a termination each.

A refused command is a launch that failed, with the profile `security_control`.
"""

from __future__ import annotations

import shlex

from substrate import __version__
from substrate.trace.events import nanoseconds
from substrate.trace.exports.executions import program, unicode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

VERSION = "1.3.0"
_CLASS, _CATEGORY = 1007, 1
_LAUNCH, _TERMINATE = 1, 2
_NAMES = {_LAUNCH: "Launch", _TERMINATE: "Terminate"}
_INFORMATIONAL, _MEDIUM = 1, 3
_SUCCESS, _FAILURE = 1, 2
_DENIED, _BLOCKED = 2, 2
_UNKNOWN_DEVICE = 0
_REGULAR_FILE = 1


def ocsf(records: Iterable[dict[str, Any]], host: str = "") -> Iterator[dict[str, Any]]:
    """Yield the events of each record that tells of a command, as they are read."""
    running: dict[str, dict[str, Any]] = {}
    for data in records:
        kind = data["event_type"]
        span = data.get("span_id")
        if kind == "command_start" and span is not None:
            running[span] = data
            yield unicode(_event(data, data, _LAUNCH, host))
        elif kind == "command_complete" and span in running:
            yield unicode(_ended(running.pop(span), data, host))
        elif kind == "policy" and _refuses_command(data):
            yield unicode(_denied(data, host))


def _refuses_command(data: dict[str, Any]) -> bool:
    return (
        "argv" in data and "span_id" in data and data["policy_decision"]["action"] == "deny"
    )  # fmt: skip


def _ended(start: dict[str, Any], complete: dict[str, Any], host: str) -> dict[str, Any]:
    event = _event(start, complete, _TERMINATE, host)
    event["exit_code"] = complete["exit"]
    event["duration"] = round(complete["duration_ms"])
    event["process"]["terminated_time"] = event["time"]
    if complete.get("error"):
        event |= {"status_id": _FAILURE, "status": "Failure", "status_detail": complete["error"]}
    scopes = complete.get("scopes_used")
    if scopes:
        event["unmapped"]["scopes_used"] = scopes
    return event


def _denied(data: dict[str, Any], host: str) -> dict[str, Any]:
    event = _event(data, data, _LAUNCH, host)
    decision = data["policy_decision"]
    event["metadata"]["profiles"] = [*event["metadata"].get("profiles", ()), "security_control"]
    return event | {
        "severity_id": _MEDIUM,
        "severity": "Medium",
        "status_id": _FAILURE,
        "status": "Failure",
        "status_detail": decision.get("reason") or decision.get("rule") or "denied",
        "action_id": _DENIED,
        "action": "Denied",
        "disposition_id": _BLOCKED,
        "disposition": "Blocked",
    }


def _event(start: dict[str, Any], data: dict[str, Any], activity: int, host: str) -> dict[str, Any]:
    name = _NAMES[activity]
    return {
        "activity_id": activity,
        "activity_name": name,
        "category_uid": _CATEGORY,
        "category_name": "System Activity",
        "class_uid": _CLASS,
        "class_name": "Process Activity",
        "type_uid": _CLASS * 100 + activity,
        "type_name": f"Process Activity: {name}",
        "time": nanoseconds(data["ts"]) // 1_000_000,
        "severity_id": _INFORMATIONAL,
        "severity": "Informational",
        "status_id": _SUCCESS,
        "status": "Success",
        "metadata": _metadata(data, start),
        "device": {"type_id": _UNKNOWN_DEVICE, "type": "Unknown", "hostname": host or "unknown"},
        "actor": {
            "app_name": start.get("component", "substrate"),
            "app_uid": start.get("agent_id", "substrate"),
            "session": {"uid": start["session_id"]},
        },
        "process": _process(start),
        "unmapped": {
            "argv": start["argv"],
            "argv_sha256": start.get("argv_sha256", ""),
            "redacted": start.get("redacted", 0),
        },
    }


def _metadata(data: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "version": VERSION,
        "product": {"name": "Substrate", "vendor_name": "Substrate", "version": __version__},
        "log_name": "trace.jsonl",
        "event_code": data["event_type"],
        "correlation_uid": start["session_id"],
        "original_time": data["ts"],
    }
    if "world_id" in start:
        metadata["profiles"] = ["container"]
    return metadata


def _process(start: dict[str, Any]) -> dict[str, Any]:
    argv = start["argv"]
    process: dict[str, Any] = {
        "uid": start["span_id"],
        "name": program(start),
        "cmd_line": shlex.join(argv),
        "created_time": nanoseconds(start["ts"]) // 1_000_000,
        "file": {"name": program(start), "path": argv[0] if argv else "", "type_id": _REGULAR_FILE},
    }
    if "parent_span" in start:
        process["parent_process"] = {"uid": start["parent_span"]}
    if "world_id" in start:
        process["container"] = {"uid": start["world_id"]}
    return process
