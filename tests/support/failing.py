"""A call in a forked child whose n-th lasting step fails: a disk or a quota is full, or broken.

fails(n, act, errno)                from there on nothing can be made that needs room
fails(n, act, errno, once=True)     this one call fails, whatever it is
"""

from __future__ import annotations

import builtins
import os
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import SubstrateError
from tests.support.dying import LASTING

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED, _NOT_REACHED = 98, 99
# On a full disk there is still room for these. Moving something back finds the place it had.
_NEED_NO_ROOM = {
    "reading", "unlink", "rmdir", "rename", "replace", "chmod", "fchmod", "chown", "fchown",
    "removexattr", "utime", "syscall",
}  # fmt: skip


def fails(step: int, act: Callable[[], object], error: int, *, once: bool = False) -> bool | None:
    """Do something in a child where calls fail from the `step`-th lasting one on, counted from 1.

    Return whether it failed, None when it never got there. It may only fail with an error that
    is reported to people: another one is a failure of the test.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                fault = _Fault(step, error, once=once)
                fault.arm(patch)
                status = _act(act, fault)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in {0, _FAILED, _NOT_REACHED}, ended
    return None if ended == _NOT_REACHED else ended == _FAILED


class _Fault:
    """What happens to the calls."""

    def __init__(self, step: int, error: int, *, once: bool) -> None:
        self.struck = False
        self._left = step
        self._error = error
        self._once = once

    def arm(self, patch: pytest.MonkeyPatch) -> None:
        for place, name in (*LASTING, (builtins, "open")):
            patch.setattr(place, name, self._failing(getattr(place, name), name))

    def _failing(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self._left -= 1
            kind = "reading" if name == "open" and _only_reads(*args[1:2]) else name
            due = self._left == 0 if self._once else self._left <= 0 and kind not in _NEED_NO_ROOM
            if due:
                self.struck = True
                raise OSError(self._error, os.strerror(self._error))
            return real(*args, **options)

        return call


def _act(act: Callable[[], object], fault: _Fault) -> int:
    try:
        act()
    except (SubstrateError, OSError):
        if not fault.struck:
            raise
        return _FAILED
    return 0 if fault.struck else _NOT_REACHED


def _only_reads(how: int | str = "r") -> bool:
    """Whether a file is opened that is there already, by flags or by a mode."""
    return not how & os.O_CREAT if isinstance(how, int) else set(how).isdisjoint("wax")
