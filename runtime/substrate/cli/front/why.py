"""`substrate why COMMAND`: what the policy says about a command, without running it."""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.cli.front.calls import spec_of
from substrate.cli.terminal import printable, write
from substrate.errors import UsageError
from substrate.policy.broker import DENY
from substrate.policy.effective import load_policy
from substrate.policy.explain import why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    words = arguments.command
    if not words:
        message = "why: COMMAND is missing"
        raise UsageError(message, 'substrate why "rm -rf build"')
    project = spec_of(arguments).project_dir
    policy = load_policy(project, os.environ, arguments.text("policy"))
    found = why(policy, words[0] if len(words) == 1 else words)
    if arguments.flag("json"):
        write(jsontext.dumps(found, 2) + "\n")
    else:
        decision = found["decision"]
        write(_line(decision) + "\n")
        others = [part for part in found["parts"] if part != decision]
        write("".join(f"  {_line(part)}\n" for part in others))
    return 126 if found["decision"]["action"] == DENY else 0


def _line(decision: dict[str, Any]) -> str:
    source = decision["source"]
    where = f" ({source['file']}:{source['line']})" if source and source.get("line") else ""
    return printable(f"{decision['action']}: {decision['rule']}{where}: {decision['reason']}")
