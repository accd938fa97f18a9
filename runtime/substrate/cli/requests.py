"""From the command line to bundles and processes, for the verbs that make either."""

from __future__ import annotations

import os

from substrate import resources
from substrate.errors import UsageError
from substrate.world.overrides import Overrides

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def bundle_directory(arguments: Arguments) -> str:
    """Return the bundle's directory: the one given, or a shipped bundle of that name."""
    given = arguments.text("bundle") or ""
    if "/" not in given and given not in ("", ".", ".."):
        here = os.path.join(given, arguments.text("config") or "config.json")
        shipped = None if os.path.exists(here) else resources.bundle_path(given)
        if shipped is not None:
            return shipped
        if not os.path.isdir(given):
            raise _unknown_bundle(given)
    if os.path.isfile(given):
        message = f"{given} is a file, and a bundle is the directory around config.json"
        raise UsageError(message, f"--bundle {os.path.dirname(given) or '.'}")
    return os.path.abspath(given) if given else ""


def _unknown_bundle(given: str) -> UsageError:
    names = ", ".join(resources.bundle_names())
    message = f"there is no directory {given} here, and no shipped bundle of that name"
    return UsageError(message, f"the shipped ones are {names}; a directory may be ./{given}")


def preserved_fds(arguments: Arguments) -> int:
    """Return how many descriptors after standard error are the payload's.

    Called before anything is opened: a number that the caller has not taken would be taken by a
    descriptor of ours, and the payload would get that one.
    """
    count = arguments.number("preserve_fds") or 0
    for fd in range(3, 3 + count):
        try:
            os.fstat(fd)
        except OSError:
            message = f"descriptor {fd} is to be preserved and is not open"
            raise UsageError(message, "open it, or lower --preserve-fds") from None
    return count


def overrides_of(arguments: Arguments) -> Overrides:
    """Return what the options of `run` and `exec` say about the process."""
    if arguments.command and arguments.command[0].startswith("-"):
        message = f"{arguments.command[0]!r} comes after the id, where the command begins"
        raise UsageError(message, "options go before the id; write a program's path as ./-name")
    return Overrides(
        args=arguments.command,
        cwd=arguments.text("cwd"),
        env=arguments.many("env"),
        user=arguments.user("user"),
        groups=tuple(int(group) for group in arguments.many("additional_gids")),
        capabilities=arguments.many("cap"),
        terminal=True if arguments.flag("tty") else None,
        no_new_privileges=arguments.flag("no_new_privs"),
    )
