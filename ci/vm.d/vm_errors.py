"""The one error of ci/vm: a message, a hint that can be typed, an exit status."""

from __future__ import annotations

MISSING = 3
UNSUPPORTED = 4
BROKEN = 125


class VmError(Exception):
    """Something ends ci/vm before the command could."""

    def __init__(self, message: str, status: int, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint
