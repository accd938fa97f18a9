"""What this process is, through python-prctl."""

from __future__ import annotations

import prctl


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid other processes of the same user to trace this one."""
    prctl.set_dumpable(dumpable)
