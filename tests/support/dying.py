"""A child process that kills itself, as by kill -9, at the n-th system call of some Python code."""

from __future__ import annotations

import fcntl
import os
import signal
import traceback
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from substrate.kernel import files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Calls = Sequence[tuple[Any, str]]

# Whatever changes something on disk, or begins to. The last is renameat2(2), and others.
LASTING: Calls = (
    *((os, name) for name in (
        "mkdir", "rename", "replace", "unlink", "rmdir", "link", "symlink", "mknod", "open",
        "chmod", "fchmod", "chown", "fchown", "setxattr", "removexattr", "utime", "fsync",
        "fdatasync", "ftruncate", "copy_file_range", "write", "pwrite",
    )),
    (files, "syscall"),
)  # fmt: skip
# And what somebody else could wait for.
EVERY: Calls = (*LASTING, (os, "close"), (fcntl, "flock"))
MANNERS = ("before", "after", "half")


def dies_at(
    step: int, act: Callable[[], object], manner: str = "before", calls: Calls = LASTING
) -> bool:
    """Do something in a child that is killed at the `step`-th of the calls, counted from 1.

    False when it got through. `manner`: the call was not made, was made, or (a write) was made by
    half.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                _arm(patch, step, manner, calls)
                act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL), ended
    return ended != 0


def at_each_step(attempt: Callable[[int], tuple[bool, str]], apart: int = 1) -> Counter[str]:
    """Try at one step after the other, or some, until one comes that is never reached.

    An attempt returns whether it was killed, and its outcome; the result is how often each was met.
    """
    met = Counter[str]()
    step, died = 1, True
    while died:
        died, outcome = attempt(step)
        met[outcome] += 1
        step += apart
    return met


def _arm(patch: pytest.MonkeyPatch, step: int, manner: str, calls: Calls) -> None:
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

    for module, name in calls:
        patch.setattr(module, name, deadly(getattr(module, name), name))
