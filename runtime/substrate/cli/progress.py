"""How far a long call has come, on standard error, for a person who has waited a second."""

from __future__ import annotations

import sys
import time

from substrate.cli.terminal import has_colour

_PATIENCE_S = 1.0
_EVERY_S = 0.1
_CLEAR = "\r\x1b[K"


class ProgressLine:
    """One line that is written over; nothing is shown where nobody would see it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shows = has_colour(sys.stderr)
        self._next = time.monotonic() + _PATIENCE_S
        self._shown = False

    def __call__(self, done: int, of: int) -> None:
        """Take note of how much is done; a negative `of` is not known."""
        now = time.monotonic()
        if not self._shows or now < self._next or not of:
            return
        self._next = now + _EVERY_S
        self._shown = True
        share = f"{done} of {of}, {done * 100 // of} %" if of > 0 else str(done)
        sys.stderr.write(f"{_CLEAR}{self._what}: {share}")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
