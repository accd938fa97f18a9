"""The session's policy: read once for a session, asked before every command."""

from __future__ import annotations

from substrate.api.records import ISOLATE, WOULD_DENY, PolicyDecision
from substrate.errors import UnsupportedError
from substrate.policy.broker import Broker
from substrate.policy.effective import load_policy, plain_values
from substrate.policy.keys import KEYS
from substrate.policy.world_settings import network_for, tighten_settings, world_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from substrate.api.records import ExecRequest

# What a world has of its own, whatever the policy lets in.
_WORLDS_OWN = frozenset(("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "COLUMNS", "LINES"))


class Judge:
    """What the policy of a project says; `given` is the file of `--policy`."""

    def __init__(
        self, project: str | None, environment: Mapping[str, str], given: str | None = None
    ) -> None:
        self.policy = load_policy(project, environment, given)
        self._broker = Broker(self.policy)
        self._let_in: tuple[Mapping[str, str], dict[str, str]] | None = None

    @property
    def policy_id(self) -> str:
        """The digest of what the policy says."""
        return self.policy.policy_id

    def decide(
        self, request: ExecRequest, definitions: Mapping[str, str] | None = None
    ) -> PolicyDecision:
        """Return the decision about a request; `definitions` are the shell's own names."""
        if request.command is not None:
            judgement = self._broker.judge_text(request.command, definitions)
        else:
            judgement = self._broker.judge_argv(request.argv)
        decision = judgement.decision
        return PolicyDecision(
            action=decision.action,
            rule=decision.rule,
            source=None if decision.source is None else str(decision.source),
            reason=decision.reason,
        )

    def isolates(self, decision: PolicyDecision) -> bool:
        """Whether what a command changes is to be accepted with an explicit yes only.

        Where a policy isolates commands by name, what cannot be judged may be one of them.
        """
        names = self.policy.list("cmd_isolated") or "cmd_allowed" in self.policy.values
        return decision.action in (ISOLATE, WOULD_DENY) and bool(names)

    def environment(self, caller: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of the caller that every command of the session gets.

        The caller's variables are looked through once: it gives the same, unchanged, every time.
        """
        if self._let_in is None or self._let_in[0] is not caller:
            allowed = self.policy.environment(caller)
            own = {name: value for name, value in allowed.items() if name not in _WORLDS_OWN}
            self._let_in = (caller, own)
        return dict(self._let_in[1])

    def settings(self, bundle: dict[str, Any], allow_degraded: Collection[str]) -> dict[str, Any]:
        """Return a bundle's `substrate` object with what the policy says laid over it.

        Raises `UnsupportedError` for a network that cannot be held to the policy's domains.
        """
        allowed = (*allow_degraded, *bundle.get("allowDegraded", ()))
        network = network_for(self.policy, enforced=False, allow_degraded=allowed)
        if network.refusal:
            raise UnsupportedError(network.refusal, network.hint)
        own = world_settings(self.policy, network)
        # Of a command, not of the session: see `timeout`.
        own["limits"].pop("wallTime", None)
        return tighten_settings(bundle, own)

    def of_world(self) -> dict[str, Any]:
        """Return by key what the policy says about worlds: it holds from the making of one on."""
        keys = [key for key in KEYS if key == "net_allowed" or key.startswith(("fs.", "limits."))]
        values = plain_values(
            {key: self.policy.values[key] for key in keys if key in self.policy.values}
        )
        # Of a command, not of its world: see `timeout`.
        values.get("limits", {}).pop("wall_time", None)
        return {
            f"{group}.{key}" if isinstance(inner, dict) else group: value
            for group, inner in values.items()
            for key, value in (inner.items() if isinstance(inner, dict) else ((group, inner),))
        }

    def timeout(self, asked_s: float | None) -> float | None:
        """Return how many seconds a command has: as asked, but no more than the policy gives."""
        most = self.policy.limit("wall_time")
        if most is None or asked_s is None:
            return asked_s if most is None else float(most)
        return min(asked_s, float(most))


def refuses_host(decision: PolicyDecision) -> bool:
    """Whether a command must not run without a world, although it may run in one."""
    return decision.action == ISOLATE
