"""Who this process is, through python-prctl: capabilities, traceability, adoption of children."""

from __future__ import annotations

import os

import prctl


def has_capability(name: str) -> bool:
    """Whether a capability such as `CAP_SYS_ADMIN` is effective in this process."""
    return bool(getattr(prctl.cap_effective, name.removeprefix("CAP_").lower()))


def is_privileged() -> bool:
    """Whether this process may make mounts and namespaces without a user namespace."""
    return os.geteuid() == 0 and has_capability("CAP_SYS_ADMIN")


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid other processes of the same user to trace this one."""
    prctl.set_dumpable(dumpable)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER)."""
    prctl.set_child_subreaper(True)
