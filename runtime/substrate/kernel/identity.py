"""Who this process is, through python-prctl: capabilities, traceability, adoption of children."""

from __future__ import annotations

import prctl


def has_capability(name: str) -> bool:
    """Whether a capability such as `CAP_SYS_ADMIN` is effective in this process."""
    return bool(getattr(prctl.cap_effective, name.removeprefix("CAP_").lower()))


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid other processes of the same user to trace this one."""
    prctl.set_dumpable(dumpable)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER)."""
    prctl.set_child_subreaper(True)
