"""The rules of OCSF 1.3 for the objects our events use: what must be there, and of which type.

From the published schema (github.com/ocsf/ocsf-schema: events/system, objects, profiles); an
attribute that is not listed here is a fault, so that a new one is looked up before it is used.
"""

from __future__ import annotations

from typing import Any

_STRING, _INTEGER, _OBJECT = str, int, dict

# Object -> attribute -> (required, type, object name or allowed values).
_RULES: dict[str, dict[str, tuple[bool, type, object]]] = {
    "event": {
        "activity_id": (True, _INTEGER, {0, 1, 2, 3, 4, 5, 99}),
        "activity_name": (False, _STRING, None),
        "category_uid": (True, _INTEGER, {1}),
        "category_name": (False, _STRING, None),
        "class_uid": (True, _INTEGER, {1007}),
        "class_name": (False, _STRING, None),
        "type_uid": (True, _INTEGER, None),
        "type_name": (False, _STRING, None),
        "time": (True, _INTEGER, None),
        "duration": (False, _INTEGER, None),
        "severity_id": (True, _INTEGER, {0, 1, 2, 3, 4, 5, 6, 99}),
        "severity": (False, _STRING, None),
        "status_id": (False, _INTEGER, {0, 1, 2, 99}),
        "status": (False, _STRING, None),
        "status_detail": (False, _STRING, None),
        "metadata": (True, _OBJECT, "metadata"),
        "device": (True, _OBJECT, "device"),
        "actor": (True, _OBJECT, "actor"),
        "process": (True, _OBJECT, "process"),
        "exit_code": (False, _INTEGER, None),
        "unmapped": (False, _OBJECT, None),
        "action_id": (False, _INTEGER, {0, 1, 2, 99}),
        "action": (False, _STRING, None),
        "disposition_id": (False, _INTEGER, {*range(28), 99}),
        "disposition": (False, _STRING, None),
    },
    "metadata": {
        "version": (True, _STRING, {"1.3.0"}),
        "product": (True, _OBJECT, "product"),
        "profiles": (False, list, None),
        "log_name": (False, _STRING, None),
        "event_code": (False, _STRING, None),
        "correlation_uid": (False, _STRING, None),
        "original_time": (False, _STRING, None),
    },
    "product": {
        "name": (False, _STRING, None),
        "vendor_name": (True, _STRING, None),
        "version": (False, _STRING, None),
    },
    "device": {
        "type_id": (True, _INTEGER, {*range(16), 99}),
        "type": (False, _STRING, None),
        "hostname": (False, _STRING, None),
    },
    "actor": {
        "app_name": (False, _STRING, None),
        "app_uid": (False, _STRING, None),
        "session": (False, _OBJECT, "session"),
    },
    "session": {"uid": (False, _STRING, None)},
    "process": {
        "uid": (False, _STRING, None),
        "name": (False, _STRING, None),
        "cmd_line": (False, _STRING, None),
        "created_time": (False, _INTEGER, None),
        "terminated_time": (False, _INTEGER, None),
        "file": (False, _OBJECT, "file"),
        "parent_process": (False, _OBJECT, "process"),
        "container": (False, _OBJECT, "container"),
    },
    "file": {
        "name": (True, _STRING, None),
        "type_id": (True, _INTEGER, {*range(8), 99}),
        "path": (False, _STRING, None),
    },
    "container": {"uid": (False, _STRING, None)},
}
_AT_LEAST_ONE = {
    "actor": ("process", "user", "invoked_by", "session", "app_name", "app_uid"),
    "process": ("pid", "uid"),
    "device": ("ip", "uid", "name", "hostname", "instance_uid", "interface_uid", "interface_name"),
}
# Attributes that only a profile allows.
_PROFILES = {"action_id": "security_control", "disposition_id": "security_control"}


def faults(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event of the class Process Activity."""
    found = list(_object_faults(event, "event", "$"))
    if event.get("type_uid") != event.get("class_uid", 0) * 100 + event.get("activity_id", -1):
        found.append("$.type_uid: not class_uid * 100 + activity_id")
    profiles = event.get("metadata", {}).get("profiles", [])
    found += [
        f"$.{name}: needs the profile {profile}"
        for name, profile in _PROFILES.items()
        if name in event and profile not in profiles
    ]
    if "container" in event.get("process", {}) and "container" not in profiles:
        found.append("$.process.container: needs the profile container")
    return found


def _object_faults(value: dict[str, Any], name: str, path: str) -> list[str]:
    rules = _RULES[name]
    found = [f"{path}.{key}: unknown" for key in value.keys() - rules.keys()]
    for key, (required, type_, more) in rules.items():
        if key not in value:
            if required:
                found.append(f"{path}.{key}: missing")
            continue
        item: Any = value[key]
        if type(item) is not type_:
            found.append(f"{path}.{key}: not {type_.__name__}")
        elif isinstance(item, dict) and isinstance(more, str):
            found += _object_faults(item, more, f"{path}.{key}")
        elif isinstance(more, set) and item not in more:
            found.append(f"{path}.{key}: {item!r} is not allowed")
    if name in _AT_LEAST_ONE and not any(key in value for key in _AT_LEAST_ONE[name]):
        found.append(f"{path}: needs one of {', '.join(_AT_LEAST_ONE[name])}")
    return found
