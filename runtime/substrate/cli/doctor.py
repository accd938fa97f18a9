"""`substrate doctor`: what this machine can do, tried and told.

The features and how each is tried are rows of `host/probes.py`; only the choice of those that the
default bundle cannot do without is here.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from substrate import jsontext
from substrate.cli.terminal import has_colour, printable, write
from substrate.errors import UnsupportedError
from substrate.host.probes import PROBES, missing, remedy

_NEEDED = (
    "namespaces",
    "mount_setattr",
    "new_mount_api",
    "openat2",
    "clone3",
    "pidfd",
    "seccomp.filter",
)
_NEEDED_BY_ROOT = ("userns", "overlayfs")
_NEEDED_BY_OTHERS = ("userns.unprivileged", "overlayfs.userxattr")

_GREEN, _RED, _YELLOW, _PLAIN = "\x1b[32m", "\x1b[1;31m", "\x1b[33m", "\x1b[0m"


class Finding(NamedTuple):
    """One feature as it was found; `reason` is empty when it works."""

    name: str
    purpose: str
    ok: bool
    needed: bool
    reason: str
    hint: str


def examine(as_json: bool) -> int:
    """Print every probe's result and return 0 or, if a needed thing is missing, 4."""
    findings = probe()
    ready = is_ready(findings)
    if as_json:
        document = {"ready": ready, "probes": [finding._asdict() for finding in findings]}
        write(jsontext.dumps(document, indent=2) + "\n")
    else:
        write(render(findings, colour=has_colour(sys.stdout)))
    return 0 if ready else UnsupportedError.status


def probe() -> list[Finding]:
    """Try every feature in the order of the table."""
    needed = {*_NEEDED, *(_NEEDED_BY_OTHERS if os.geteuid() else _NEEDED_BY_ROOT)}
    return [
        Finding(
            name=name,
            purpose=row.purpose,
            ok=not missing(name),
            needed=name in needed,
            reason=missing(name),
            hint=remedy(name) if missing(name) else "",
        )
        for name, row in PROBES.items()
    ]


def is_ready(findings: list[Finding]) -> bool:
    """Return whether the default bundle can run here."""
    return all(finding.ok for finding in findings if finding.needed)


def render(findings: list[Finding], colour: bool = False) -> str:
    """Return the findings as a table, and a last line with the verdict."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines: list[str] = []
    for finding in findings:
        word, paint = _verdict(finding)
        mark = f"{paint}{word:<8}{_PLAIN}" if colour else f"{word:<8}"
        lines.append(f"{mark} {finding.name:<{width}}  {finding.purpose}")
        indent = " " * (9 + width + 2)
        if not finding.ok:
            lines.append(f"{indent}{printable(finding.reason)}")
        if finding.hint:
            lines.append(f"{indent}hint: {finding.hint}")
    lacking = [finding.name for finding in findings if finding.needed and not finding.ok]
    lines.append("")
    if lacking:
        lines.append(f"the default bundle cannot run here: {', '.join(lacking)} needed")
    else:
        lines.append("the default bundle can run here")
    return "\n".join(lines) + "\n"


def _verdict(finding: Finding) -> tuple[str, str]:
    if finding.ok:
        return "ok", _GREEN
    return ("NEEDED", _RED) if finding.needed else ("missing", _YELLOW)
