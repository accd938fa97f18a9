"""A call in a forked child that dies, as by kill -9, before its n-th lasting step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from substrate.kernel import files, linux

if TYPE_CHECKING:
    from collections.abc import Callable

_DIED = 99
# Whatever changes something on disk, or begins to.
_LASTING = (
    "mkdir", "rename", "replace", "unlink", "rmdir", "link", "symlink", "mknod", "open", "chmod",
    "fchmod", "chown", "fchown", "setxattr", "removexattr", "utime", "fsync", "ftruncate",
    "copy_file_range", "write", "pwrite",
)  # fmt: skip


def dies(step: int, act: Callable[[], object]) -> bool:
    """Do something in a child that dies before its `step`-th lasting call; whether it got there."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _die_at(step)
            act()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, _DIED}, code
    return code == _DIED


def _die_at(step: int) -> None:
    count = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > step:
                os._exit(_DIED)
            return function(*args, **options)

        return call

    for name in _LASTING:
        setattr(os, name, counted(getattr(os, name)))
    setattr(files, "syscall", counted(linux.syscall))  # noqa: B010 -- where it is used
