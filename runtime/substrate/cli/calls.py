"""From the command line to contexts and ids, for every verb."""

from __future__ import annotations

import os

from substrate.cli.report import reporter
from substrate.errors import SubstrateError, UsageError
from substrate.world.context import Context, find_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.cli.parse import Arguments
    from substrate.isolation.timing import Durations


def context_of(arguments: Arguments) -> Context:
    """Return the context the global options name."""
    manager = arguments.text("cgroup_manager")
    allowed = arguments.many("allow_degraded")
    if allowed:
        _check_degradable(allowed)
    root, data, cache = find_directories(arguments.text("root"), os.environ)
    return Context(
        root=root,
        data=data,
        cache=cache,
        no_cgroups=manager == "disabled",
        # runc's option says nothing about worlds without cgroups.
        by_systemd=manager == "systemd"
        or (arguments.flag("systemd_cgroup") and manager != "disabled"),
        allow_degraded=allowed,
    )


def _check_degradable(names: tuple[str, ...]) -> None:
    from substrate.bundle.degradable import is_degradable, known_names

    for name in names:
        if not is_degradable(name):
            message = f"--allow-degraded {name}: there is nothing of that name"
            raise UsageError(message, f"known are {known_names()}")


def timings_printer(arguments: Arguments) -> Callable[[Durations], None] | None:
    """Return what prints the duration of each step for `--debug`, None without it."""
    return _print_timings if arguments.flag("debug") else None


def _print_timings(durations: Durations) -> None:
    for step, duration_ms in durations:
        reporter.detail(f"{duration_ms:8.3f} ms  {step}")


def matching_ids(arguments: Arguments, context: Context) -> list[str]:
    """Return the ids an operand names: itself, or with --regex every one it matches."""
    from substrate.world.store import list_ids

    pattern = arguments.operands[0]
    if not arguments.flag("regex"):
        return [pattern]
    import re

    try:
        expression = re.compile(pattern)
    except re.error as error:
        message = f"{pattern!r} is not a regular expression: {error}"
        raise SubstrateError(message) from None
    return [world_id for world_id in list_ids(context) if expression.search(world_id)]


def for_each(ids: list[str], act: Callable[[str], None]) -> int:
    """Do something for every id, going on after a failure; raises the last one."""
    last: SubstrateError | None = None
    for world_id in ids:
        try:
            act(world_id)
        except SubstrateError as error:
            last = error
    if last is not None:
        raise last
    return 0
