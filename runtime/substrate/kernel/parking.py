"""A process that does nothing: it holds a place that exists only while somebody is in it."""

from __future__ import annotations

import os

from substrate.kernel import signals

_MOST_DESCRIPTORS = 0x7FFF_FFFF
_SIGKILL = 9


class ParkedProcess:
    """A child that waits until `end`, or until its parent dies in any way. A context manager.

    It is a copy of this process with no descriptor but a pipe's, and makes no import.
    """

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(self._writing)
            raise
        if self.pid == 0:
            _wait_for_the_end_of(reading)
        os.close(reading)

    def end(self) -> None:
        """End it, and return when it is gone; may be called again."""
        if self._writing < 0:
            return
        os.close(self._writing)
        self._writing = -1
        try:
            os.kill(self.pid, _SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            # SIGCHLD may be ignored, and then nobody has to reap it.
            return

    def __enter__(self) -> ParkedProcess:
        return self

    def __exit__(self, *_details: object) -> None:
        self.end()


def _wait_for_the_end_of(pipe: int) -> None:
    """Read until the last writer is gone; never returns."""
    try:
        # The parent's handlers would act in its name.
        for number in signals.all_numbers():
            if number not in (_SIGKILL, 19):
                signals.handle(number, signals.DEFAULT)
        os.dup2(pipe, 0)
        os.closerange(1, _MOST_DESCRIPTORS)
        os.read(0, 1)
    finally:
        # Nothing of the parent's shall be written or measured by its copy.
        os.kill(os.getpid(), _SIGKILL)
