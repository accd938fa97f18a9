"""`substrate policy show [--explain]`."""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.cli.front.calls import reporter, spec_of
from substrate.cli.table import format_table
from substrate.cli.terminal import write
from substrate.policy.effective import load_policy
from substrate.policy.explain import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    project = spec_of(arguments).project_dir
    policy = load_policy(project, os.environ, arguments.text("policy"))
    for refused in policy.refused:
        told = refused.to_json()
        reporter.warn(f"not taken from {told.get('source')}: {told.get('reason')}")
    explained = arguments.flag("explain")
    found = show(policy, explained)
    if explained and not arguments.flag("json"):
        write(format_table(("KEY", "VALUE", "FROM"), [_row(row) for row in found["values"]]))
    else:
        write(jsontext.dumps(found if arguments.flag("json") else found["policy"], 2) + "\n")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    value = row["value"] if isinstance(row["value"], str) else jsontext.dumps(row["value"])
    source = row["source"]
    if source is None:
        return row["key"], value, ""
    line = f":{source['line']}" if source.get("line") else ""
    return row["key"], value, f"{source['file']}{line}"
