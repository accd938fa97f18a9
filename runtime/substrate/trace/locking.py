"""Waiting for a lock on a file, but not for ever: whoever holds it may have been stopped."""

from __future__ import annotations

import fcntl
import time

from substrate.errors import TraceWriteError

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX
PATIENCE_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0001, 0.01


def lock(fd: int, operation: int) -> None:
    """Take a lock, SHARED or EXCLUSIVE; raises `TraceWriteError` after half a minute."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        _wait(fd, operation)


def unlock(fd: int) -> None:
    """Give the lock up."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def _wait(fd: int, operation: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    pause = _FIRST_PAUSE_S
    while True:
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"the trace is locked by somebody else for {PATIENCE_S:.0f} s"
                raise TraceWriteError(message, "lslocks tells by whom") from None
        else:
            return
