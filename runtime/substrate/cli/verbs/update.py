"""`update ID`."""

from __future__ import annotations

import os

from substrate.bundle.fields import Fields
from substrate.bundle.jsonfile import parse_json, read_json
from substrate.cli.calls import context_of
from substrate.errors import UsageError
from substrate.world.control import update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments

# Option key: where its value goes below linux.resources.
_NUMBERS = {
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_share": ("cpu", "shares"),
    "pids_limit": ("pids", "limit"),
}
_TEXTS = {"cpuset_cpus": ("cpu", "cpus"), "cpuset_mems": ("cpu", "mems")}
_STANDARD_INPUT = "-"


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    source = arguments.text("resources")
    change = _from_options(arguments) if source is None else _from_file(source)
    if not change:
        message = "there is nothing to update"
        raise UsageError(message, "use --resources FILE, --memory, --pids-limit or another limit")
    name = "the command line" if source is None else os.path.basename(source)
    update(context_of(arguments), arguments.operands[0], change, name)
    return 0


def _from_options(arguments: Arguments) -> dict[str, Any]:
    change: dict[str, dict[str, Any]] = {}
    for key, (group, name) in _NUMBERS.items():
        value = arguments.number(key)
        if value is not None:
            change.setdefault(group, {})[name] = value
    for key, (group, name) in _TEXTS.items():
        text = arguments.text(key)
        if text is not None:
            change.setdefault(group, {})[name] = text
    return change


def _from_file(source: str) -> dict[str, Any]:
    if source == _STANDARD_INPUT:
        with open(0, encoding="utf-8", closefd=False) as stream:
            return Fields(parse_json(stream.read(), source), "$", "standard input").data
    return Fields(read_json(source), "$", os.path.basename(source)).data
