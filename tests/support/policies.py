"""Policies for tests, from the text of their files."""

from __future__ import annotations

from substrate.policy.broker import Broker
from substrate.policy.effective import Policy, merge_policy
from substrate.policy.files import PolicyFile

DENIES_RM = 'cmd_denied: ["rm -rf *"]\n'


def policy(user: str = "", project: str | None = None, system: str = "") -> Policy:
    """Return the policy of these files."""
    files = [
        PolicyFile("system", "/etc/substrate/policy.yaml", system.encode()),
        PolicyFile("user", "/home/u/policy.yaml", user.encode()),
    ]
    if project is not None:
        files.append(PolicyFile("project", "/p/.substrate/policy.yaml", project.encode()))
    return merge_policy(files)


def action(text: str, user: str = DENIES_RM, posix: bool = False) -> str:
    """Return what is decided about a shell text."""
    return Broker(policy(user)).judge_text(text, posix=posix).decision.action


def rule(text: str, user: str = DENIES_RM) -> str:
    """Return the rule that decides about a shell text."""
    return Broker(policy(user)).judge_text(text).decision.rule
