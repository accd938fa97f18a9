"""A second reading of OCI seccomp profiles, written from docs/explanation/seccomp.md alone.

It evaluates a profile for one call directly, without numbers, tables or BPF.
"""

from __future__ import annotations

from typing import Any

from tests.support import bpf

_ACTIONS = {
    "SCMP_ACT_KILL": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": bpf.KILL_PROCESS,
    "SCMP_ACT_TRAP": bpf.TRAP,
    "SCMP_ACT_ERRNO": bpf.ERRNO,
    "SCMP_ACT_TRACE": bpf.TRACE,
    "SCMP_ACT_LOG": bpf.LOG,
    "SCMP_ACT_ALLOW": bpf.ALLOW,
}
_STRICTEST_FIRST = [
    bpf.KILL_PROCESS,
    bpf.KILL_THREAD,
    bpf.TRAP,
    bpf.ERRNO,
    bpf.TRACE,
    bpf.LOG,
    bpf.ALLOW,
]


def evaluate(profile: dict[str, Any], name: str, args: tuple[int, ...], bits: int) -> int:
    """Return what a profile answers for a call that it names or could have named."""
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    matching: list[int] = []
    for rule in profile["syscalls"]:
        if name not in rule["names"]:
            continue
        action = _action(rule["action"], rule.get("errnoRet"))
        if action == default:
            continue
        conditions = rule.get("args") or []
        if not conditions:
            return action
        results = [_holds(condition, args, bits) for condition in conditions]
        same_argument = len({condition["index"] for condition in conditions}) < len(conditions)
        if any(results) if same_argument else all(results):
            matching.append(action)
    for rule in profile["syscalls"]:
        action = _action(rule["action"], rule.get("errnoRet"))
        if name in rule["names"] and not rule.get("args") and action != default:
            return action
    for kind in _STRICTEST_FIRST:
        for action in matching:
            if action & 0xFFFF0000 == kind:
                return action
    return default


def _action(word: str, errno: int | None) -> int:
    action = _ACTIONS[word]
    if action in (bpf.ERRNO, bpf.TRACE):
        return action | (1 if errno is None else errno)
    return action


def _holds(condition: dict[str, Any], args: tuple[int, ...], bits: int) -> bool:
    mask = (1 << bits) - 1
    argument = args[condition["index"]] & mask
    value = condition["value"] & mask
    two = condition.get("valueTwo", 0) & mask
    results: dict[str, bool] = {
        "SCMP_CMP_EQ": argument == value,
        "SCMP_CMP_NE": argument != value,
        "SCMP_CMP_LT": argument < value,
        "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_GE": argument >= value,
        "SCMP_CMP_MASKED_EQ": argument & value == two & value,
    }
    return results[condition["op"]]
