"""What an executable does before anything else, and how a signal ends it in good order."""

from __future__ import annotations

import os

from substrate.kernel import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 128 + 2
OUTPUT_CLOSED = 128 + 13
_ENDING = (1, 15)  # SIGHUP, SIGTERM


class EndedBySignal(BaseException):
    """Unwinds the stack, so that a half-made world is taken back before the process ends."""

    def __init__(self, number: int) -> None:
        self.number = number


def prepare_process() -> None:
    """Open missing standard streams, and have signals that end us unwind the stack."""
    _fill_standard_streams()
    for number in _ENDING:
        if not signals.is_ignored(number):
            signals.handle(number, _end_by_signal)


def _fill_standard_streams() -> None:
    """Open /dev/null for the standard streams that the caller has closed.

    A descriptor of ours would get the number instead, and stay open in the payload.
    """
    fd = os.open("/dev/null", os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.open("/dev/null", os.O_RDWR)
    os.close(fd)


def _end_by_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise EndedBySignal(number)
