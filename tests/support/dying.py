"""A child process that kills itself at the n-th system call of some Python code."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything that changes a file or that somebody could wait for.
_CALLS = (
    (os, "open"), (os, "write"), (os, "rename"), (os, "fchmod"), (os, "fsync"), (os, "fdatasync"),
    (os, "ftruncate"), (os, "mkdir"), (os, "unlink"), (os, "close"), (fcntl, "flock"),
)  # fmt: skip
MANNERS = ("before", "after", "half")


def dies_at(step: int, manner: str, act: Callable[[], None]) -> bool:
    """Do something in a child that is killed at its `step`-th call; False when it got through.

    `manner`: the call was not made, was made, or (a write) was made by half.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                _arm(patch, step, manner)
                act()
            status = 0
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL), ended
    return ended != 0


def _arm(patch: pytest.MonkeyPatch, step: int, manner: str) -> None:
    left = step

    def deadly(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return real(*args, **options)
            if manner == "after":
                # It may fail, as mkdir of what is there; it has been called then.
                with suppress(OSError):
                    real(*args, **options)
            elif manner == "half" and name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return call

    for module, name in _CALLS:
        patch.setattr(module, name, deadly(getattr(module, name), name))
