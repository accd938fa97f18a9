"""What a policy makes of a world: the settings for its bundle, as data."""

from __future__ import annotations

from substrate.policy.entries import common, domain_covers
from substrate.policy.idna_names import ascii_entry
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from substrate.policy.effective import Policy

# The name under which a world may go without the network its policy asks for.
NETWORK = "network"

# The policy's limits by their names in a bundle.
_LIMITS = {
    "wall_time": "wallTime",
    "egress_bytes": "egressBytes",
    "output": "output",
    "memory": "memory",
    "cpus": "cpus",
    "pids": "pids",
    "open_files": "openFiles",
    "disk": "disk",
}


@record
class NetworkAnswer:
    """The network a world gets: `mode` "" where the policy says nothing and the bundle decides.

    With a `refusal` (status 4) the world does not start.

    `degraded`: name and reason of what is missing by permission, for the state and the trace.
    """

    mode: str
    allowed_domains: tuple[str, ...] | None = None
    refusal: str = ""
    hint: str = ""
    degraded: tuple[tuple[str, str], ...] = ()


def network_for(policy: Policy, enforced: bool, allow_degraded: Collection[str]) -> NetworkAnswer:
    """Return what network a world gets by its policy; never more than that.

    `enforced`: this machine and version can hold a world to its domains.
    """
    domains = policy.allowed_domains()
    if domains is None:
        return NetworkAnswer("")
    if not domains:
        return NetworkAnswer("none")
    if enforced:
        return NetworkAnswer("filtered", domains)
    reason = "domains cannot be enforced yet; the world gets no network at all"
    if NETWORK in allow_degraded:
        return NetworkAnswer("none", degraded=((NETWORK, reason),))
    source = policy.list("net_allowed")[0].source
    refusal = f"the policy asks for {len(domains)} domains ({source}), and none can be enforced yet"
    return NetworkAnswer(
        "none", None, refusal, f"go without any network: --allow-degraded {NETWORK}"
    )


def world_settings(policy: Policy, network: NetworkAnswer) -> dict[str, Any]:
    """Return the `substrate` object's part that the policy decides, as in a bundle's JSON.

    To be laid over a bundle by `tighten_settings`, not merged blindly.
    """
    settings: dict[str, Any] = {
        "project": {
            "deny": _entries(policy, "fs.deny"),
            "readonly": _entries(policy, "fs.readonly"),
            "risky": _entries(policy, "fs.risky"),
        },
        "rootfs": {"expose": _entries(policy, "fs.expose"), "hide": _entries(policy, "fs.hide")},
        "limits": {
            name: policy.limit(key)
            for key, name in _LIMITS.items()
            if policy.limit(key) is not None
        },
    }
    if network.mode:
        domains = network.allowed_domains
        listed = {} if domains is None else {"allowedDomains": list(domains)}
        settings["network"] = {"mode": network.mode, **listed}
    return settings


def tighten_settings(bundle: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    """Return a bundle's `substrate` object with the policy's part of it.

    Lists are joined, of two limits the smaller holds, and of two networks what both allow: a
    bundle does not open what the policy keeps closed.
    """
    merged = {**bundle}
    for name in ("project", "rootfs"):
        if name not in bundle:
            continue
        merged[name] = {**bundle[name]}
        for key, entries in policy[name].items():
            if entries:
                merged[name][key] = list(dict.fromkeys([*bundle[name].get(key, ()), *entries]))
    limits = {**bundle.get("limits", {})}
    for key, value in policy["limits"].items():
        limits[key] = min(value, limits.get(key) or value)
    merged["limits"] = limits
    if "network" in policy:
        merged["network"] = _network(bundle.get("network", {}), policy["network"])
    return merged


def _network(bundle: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    mode = bundle.get("mode") or ("filtered" if "allowedDomains" in bundle else policy["mode"])
    if "none" in {mode, policy["mode"]}:
        return {"mode": "none"}
    if mode == "host":
        return policy
    domains = policy["allowedDomains"]
    if "allowedDomains" in bundle:
        asked = [ascii_entry(entry) for entry in bundle["allowedDomains"]]
        domains = common(domains, asked, domain_covers)
    return {**bundle, "mode": mode, "allowedDomains": domains}


def _entries(policy: Policy, key: str) -> list[str]:
    return [entry.value for entry in policy.list(key)]
