"""W3C PROV-JSON: a command is an activity, a version of a file an entity, who ran it an agent."""

from __future__ import annotations

from hashlib import sha256

from substrate.trace.exports.executions import SCHEMAS, Execution, executions, program, unicode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_PREFIX = "sub"
_TYPE = {"type": "xsd:QName"}


def prov(records: Iterable[dict[str, Any]], host: str = "") -> Iterator[dict[str, Any]]:
    """Yield one document with everything, when all records are read."""
    document = _Document(host)
    for execution in executions(records):
        document.add(execution)
    yield unicode(document.to_json())


class _Document:
    """A document under construction, and the newest version of each file it knows."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._parts: dict[str, dict[str, Any]] = {}
        self._versions: dict[str, str] = {}

    def to_json(self) -> dict[str, Any]:
        prefixes = {
            _PREFIX: f"{SCHEMAS}/prov#",
            "xsd": "http://www.w3.org/2001/XMLSchema#",
        }
        return {"prefix": prefixes} | self._parts

    def add(self, one: Execution) -> None:
        """Add a command, who ran it, what it made of which files."""
        start = one.start
        activity = _span(start["span_id"])
        facts: dict[str, Any] = {
            "prov:startTime": _seconds(start["ts"]),
            "prov:label": program(start),
            f"{_PREFIX}:argv": start["argv"],
            f"{_PREFIX}:session": start["session_id"],
        }
        if self._host:
            facts[f"{_PREFIX}:host"] = self._host
        if one.complete is not None:
            facts["prov:endTime"] = _seconds(one.complete["ts"])
            facts[f"{_PREFIX}:exit"] = one.complete["exit"]
        self._part("activity")[activity] = facts
        self._associate(start, activity)
        parent = start.get("parent_span")
        if parent is not None and _span(parent) in self._part("activity"):
            relation = {"prov:informed": activity, "prov:informant": _span(parent)}
            self._relate("wasInformedBy", relation)
        self._add_files(one, activity)

    def _associate(self, start: dict[str, Any], activity: str) -> None:
        name = start.get("agent_id") or start.get("component", "substrate")
        agent = f"{_PREFIX}:agent-{_short(name)}"
        kind = {"$": "prov:SoftwareAgent"} | _TYPE
        self._part("agent")[agent] = {"prov:type": kind, "prov:label": name}
        relation = {"prov:activity": activity, "prov:agent": agent}
        if "policy_id" in start:
            plan = f"{_PREFIX}:policy-{_short(start['policy_id'])}"
            kind = {"$": "prov:Plan"} | _TYPE
            self._part("entity")[plan] = {"prov:type": kind, "prov:label": start["policy_id"]}
            relation["prov:plan"] = plan
        self._relate("wasAssociatedWith", relation)

    def _add_files(self, one: Execution, activity: str) -> None:
        diff = (one.complete or {}).get("fs_diff", {})
        ended = _seconds((one.complete or one.start)["ts"])
        for old, new in diff.get("renames", ()):
            before = self._read(old, activity)
            self._invalidate(old, activity, ended)
            self._generate(new, before, one, activity, ended)
        for path in diff.get("deletes", ()):
            self._read(path, activity)
            self._invalidate(path, activity, ended)
        for path in diff.get("mods", ()):
            self._generate(path, self._read(path, activity), one, activity, ended)
        for path in diff.get("writes", ()):
            self._generate(path, None, one, activity, ended)

    def _read(self, path: str, activity: str) -> str:
        """Return the version a command found; one nobody here made is that of before the trace."""
        found = self._versions.get(path)
        if found is None:
            found = self._entity(path, "before")
        self._relate("used", {"prov:activity": activity, "prov:entity": found})
        return found

    def _generate(
        self, path: str, before: str | None, one: Execution, activity: str, ended: str
    ) -> None:
        made = self._entity(path, one.start["span_id"])
        digest = (one.complete or {}).get("fs_diff", {}).get("digests", {}).get(path)
        if digest is not None:
            self._part("entity")[made][f"{_PREFIX}:sha256"] = digest
        relation = {"prov:entity": made, "prov:activity": activity, "prov:time": ended}
        self._relate("wasGeneratedBy", relation)
        if before is not None and before != made:
            relation = {"prov:generatedEntity": made, "prov:usedEntity": before}
            self._relate("wasDerivedFrom", relation | {"prov:activity": activity})

    def _invalidate(self, path: str, activity: str, ended: str) -> None:
        gone = self._versions.pop(path)
        relation = {"prov:entity": gone, "prov:activity": activity, "prov:time": ended}
        self._relate("wasInvalidatedBy", relation)

    def _entity(self, path: str, version: str) -> str:
        name = f"{_PREFIX}:file-{_short(path)}-{version}"
        self._part("entity").setdefault(name, {"prov:label": path, f"{_PREFIX}:path": path})
        self._versions[path] = name
        return name

    def _relate(self, kind: str, relation: dict[str, Any]) -> None:
        part = self._part(kind)
        part[f"_:{kind}{len(part) + 1}"] = relation

    def _part(self, kind: str) -> dict[str, Any]:
        return self._parts.setdefault(kind, {})


def _span(span_id: str) -> str:
    return f"{_PREFIX}:span-{span_id}"


def _short(text: str) -> str:
    # A path may hold what a qualified name may not.
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _seconds(ts: str) -> str:
    """Return a record's time with microseconds, as much as readers of xsd:dateTime take."""
    return f"{ts[:26]}Z"
