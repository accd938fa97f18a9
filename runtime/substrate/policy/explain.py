"""What holds and why, as data for people to be shown."""

from __future__ import annotations

from substrate.policy.broker import Broker
from substrate.policy.effective import plain_values
from substrate.policy.keys import KEYS
from substrate.policy.merge import ALSO_ALLOWED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from substrate.policy.effective import Policy


def show(policy: Policy, explain: bool = False) -> dict[str, Any]:
    """Return the effective policy; with `explain` every value has its source.

    `policy` has the shape of a policy file. With `explain`, `values` has one row per value:
    key, value, source (layer, file, path, line).
    """
    shown: dict[str, Any] = {
        "policy_id": policy.policy_id,
        "policy": plain_values(policy.values),
        "files": [file.to_json() for file in policy.files],
        "refused": [refused.to_json() for refused in policy.refused],
    }
    if explain:
        rows: list[dict[str, Any]] = []
        for key in (*KEYS, ALSO_ALLOWED):
            held = policy.values.get(key, ())
            entries = held if isinstance(held, tuple) else (held,)
            rows += [{"key": key, **entry.to_json()} for entry in entries]
            if key in policy.values and not entries:
                rows.append({"key": key, "value": [], "source": None})
        shown["values"] = rows
    return shown


def why(
    policy: Policy,
    command: str | Sequence[str],
    definitions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the decision about a shell text or an argv, and about every command in it."""
    broker = Broker(policy)
    if isinstance(command, str):
        judgement = broker.judge_text(command, definitions)
    else:
        judgement = broker.judge_argv(command)
    return {
        "policy_id": policy.policy_id,
        "decision": judgement.decision.to_json(),
        "parts": [part.to_json() for part in judgement.parts],
    }
