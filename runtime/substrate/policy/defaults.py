"""The policy without any file: what the world's wall makes harmless is not denied.

Below every other file; `substrate policy show` prints it.
"""

from __future__ import annotations

from substrate.policy.checks import Setting
from substrate.policy.provenance import DEFAULT, Source, Sourced

FILE = "shipped default"

# What a program needs to behave as at the caller's; nothing that could be a secret.
ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "LANG", "LANGUAGE", "LC_*"),
    *("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "LINES", "CI"),
)


def default_settings() -> dict[str, Setting]:
    """Return the settings of the shipped default."""
    return {
        "mode": _scalar("mode", "enforce"),
        "cmd_unjudged": _scalar("cmd_unjudged", "isolate"),
        "env.allow": Setting(
            _source("$.env.allow"),
            None,
            tuple(
                Sourced(name, _source(f"$.env.allow[{number}]"))
                for number, name in enumerate(ENVIRONMENT)
            ),
        ),
    }


def _scalar(key: str, value: str) -> Setting:
    return Setting(_source(f"$.{key}"), value)


def _source(path: str) -> Source:
    return Source(DEFAULT, FILE, path, 0)
