"""Variables that a person names for a command, beside those that the policy lets in."""

from __future__ import annotations

from substrate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def asked_environment(asked: Iterable[str], caller: Mapping[str, str]) -> dict[str, str]:
    """Return what `--env NAME=VALUE` and `--env NAME` (the caller's value) say."""
    found: dict[str, str] = {}
    for entry in asked:
        name, equals, value = entry.partition("=")
        if not name:
            message = f"{entry!r} is not NAME=VALUE"
            raise UsageError(message, "use --env NAME=VALUE, or --env NAME")
        if equals:
            found[name] = value
        elif name in caller:
            found[name] = caller[name]
        else:
            message = f"the variable {name} is not set"
            raise UsageError(message, f"use --env {name}=VALUE")
    return found
