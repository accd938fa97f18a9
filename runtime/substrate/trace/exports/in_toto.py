"""in-toto Statement v1 with the predicate runtime-trace v0.1: one statement for a session.

It says what ran under which policy, what it reached over the network, and the digests of the
files it left. It is not signed: DSSE envelopes are made by the tools that keep the keys. Entries
of `network` have the field names that later versions of the predicate recommend.
"""

from __future__ import annotations

from substrate.trace.exports.executions import SCHEMAS, Execution, executions, unicode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/runtime-trace/v0.1"
MONITOR = f"{SCHEMAS}/span.schema.json"


def in_toto(records: Iterable[dict[str, Any]], host: str = "") -> Iterator[dict[str, Any]]:
    """Yield one statement for each session, when all records are read."""
    sessions: dict[str, list[Execution]] = {}
    for execution in executions(records):
        sessions.setdefault(execution.start["session_id"], []).append(execution)
    for session, done in sessions.items():
        yield unicode(
            {
                "_type": STATEMENT,
                "subject": _subjects(done),
                "predicateType": PREDICATE,
                "predicate": _predicate(session, done, host),
            }
        )


def _predicate(session: str, done: list[Execution], host: str) -> dict[str, Any]:
    policies = sorted({one.start["policy_id"] for one in done if "policy_id" in one.start})
    return {
        "monitor": {"type": MONITOR, "tracePolicy": {"policies": policies}},
        "monitoredProcess": {
            "hostID": f"urn:substrate:host:{host or 'unknown'}",
            "type": f"{SCHEMAS}/session",
            "event": session,
        },
        "monitorLog": {
            "process": [_process(one) for one in done],
            "network": [_endpoint(data) for one in done for data in one.net],
            "fileAccess": [
                {"name": path, "digest": {"sha256": sha256}}
                for one in done
                for path, sha256 in _digests(one).items()
            ],
        },
        "metadata": {
            "buildStartedOn": done[0].start["ts"],
            "buildFinishedOn": (done[-1].complete or done[-1].start)["ts"],
        },
    }


def _subjects(done: list[Execution]) -> list[dict[str, Any]]:
    """Return the files the session left; a statement is about something, so else its requests."""
    left: dict[str, str] = {}
    for one in done:
        diff = (one.complete or {}).get("fs_diff", {})
        for path in (*diff.get("deletes", ()), *(old for old, _ in diff.get("renames", ()))):
            left.pop(path, None)
        left |= _digests(one)
    if not left:
        left = {
            f"request of span {one.start['span_id']}": one.start.get("request_sha256")
            or one.start["argv_sha256"]
            for one in done
        }
    return [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in left.items()]


def _digests(one: Execution) -> dict[str, str]:
    found: dict[str, str] = (one.complete or {}).get("fs_diff", {}).get("digests", {})
    return found


def _process(one: Execution) -> dict[str, Any]:
    entry = {
        "spanID": one.start["span_id"],
        "arguments": one.start["argv"],
        "argumentsDigest": {"sha256": one.start["argv_sha256"]},
        "redacted": one.start.get("redacted", 0),
        "startedOn": one.start["ts"],
    }
    if "parent_span" in one.start:
        entry["parentSpanID"] = one.start["parent_span"]
    if one.complete is not None:
        entry |= {"exit": one.complete["exit"], "finishedOn": one.complete["ts"]}
    return entry


def _endpoint(data: dict[str, Any]) -> dict[str, Any]:
    names = {"ip": "ip", "host": "hostname", "port": "port", "protocol": "protocol"}
    entry = {shown: data[name] for name, shown in names.items() if name in data}
    return entry | {"verdict": data["verdict"], "invokingProcess": {"spanID": data["span_id"]}}
