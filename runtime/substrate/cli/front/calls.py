"""From the command line of `substrate` to sessions, for every verb of it."""

from __future__ import annotations

import os

from substrate.cli.report import Reporter
from substrate.errors import UsageError
from substrate.world.context import Context, find_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.api.inprocess import InProcessWorld
    from substrate.api.records import WorldSpec
    from substrate.cli.parse import Arguments

# 125 is ours, as in env(1) and docker: every other status may be a command's own.
reporter = Reporter("substrate", own_failure=125, spoken="substrate {verb}")


def context_of(arguments: Arguments) -> Context:
    """Return the context the options name."""
    root, data, cache = find_directories(arguments.text("root"), os.environ)
    return Context(
        root=root, data=data, cache=cache, allow_degraded=arguments.many("allow_degraded")
    )


def spec_of(arguments: Arguments) -> WorldSpec:
    """Return the whole specification of the session that the options and the directory mean."""
    from substrate.api import sessions
    from substrate.api.records import WorldSpec

    asked = WorldSpec(
        id=arguments.text("world"),
        bundle=arguments.text("bundle"),
        project_dir=arguments.text("project"),
    )
    return sessions.complete(asked, os.getcwd())


def world_of(arguments: Arguments, *, stays: bool = False) -> InProcessWorld:
    """Return the session's world in this process; nothing is made yet.

    `stays`: for command after command, not for one.
    """
    from substrate.api.inprocess import InProcessWorld

    return InProcessWorld(
        context_of(arguments), os.getcwd(), os.environ, reporter.warn, arguments.text("policy"),
        works_ahead=stays,
    )  # fmt: skip


def existing_world(arguments: Arguments) -> InProcessWorld:
    """Return the world of a session that there must be. Raises `WorldNotFoundError`."""
    world = world_of(arguments)
    world.find_session(spec_of(arguments))
    return world


def environment_of(arguments: Arguments) -> tuple[tuple[str, str], ...]:
    """Return the variables that `--env` gives a command."""
    from substrate.api.environment import asked_environment

    return tuple(asked_environment(arguments.many("env"), os.environ).items())


def timeout_of(arguments: Arguments) -> float | None:
    """Return what `--timeout` says, in seconds."""
    text = arguments.text("timeout")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        message = f"--timeout: {text!r} is not a number of seconds"
        raise UsageError(message, "use --timeout 30, or --timeout 0.5")
    return seconds


def directory_in(project: str, directory: str) -> str | None:
    """Return where a command starts: the caller's directory when the world has it."""
    here = os.path.realpath(os.getcwd())
    if here == project or here.startswith(project + "/"):
        return directory + here.removeprefix(project)
    return None
