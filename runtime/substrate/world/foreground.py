"""Staying in the foreground: signals go on to the world, its end comes back as a status."""

from __future__ import annotations

import errno
import os

from substrate.kernel import signals
from substrate.world.console import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any

# Not for the world: about our own children and terminal, or sent by our own faults.
_NOT_FORWARDED = tuple(
    f"SIG{name}"
    for name in (
        "CHLD", "KILL", "STOP", "PIPE", "SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS", "TTIN",
        "TTOU", "XFSZ", "URG", "WINCH", "PROF", "TSTP",
    )
)  # fmt: skip
_SIGWINCH = 28


class ForwardedSignals:
    """Within `with`: signals to this process are passed on to `pid`, a child of ours."""

    def __init__(self, pid: int, on_resize: Callable[[], None] | None = None) -> None:
        self._pid = pid
        self._on_resize = on_resize
        self._former: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in signals.all_numbers() - set(map(signals.named, _NOT_FORWARDED)):
            if signals.is_ignored(number):
                continue
            try:
                self._former[number] = signals.handle(number, self._forward)
            except OSError as error:
                # 32 and 33 belong to the threads library.
                if error.errno != errno.EINVAL:
                    raise
        if self._on_resize is not None:
            self._former[_SIGWINCH] = signals.handle(_SIGWINCH, self._resize)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signals.handle(number, handler)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        try:
            # Not yet reaped, so the pid is still its own.
            os.kill(self._pid, number)
        except ProcessLookupError:
            return

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        if self._on_resize is not None:
            self._on_resize()


def attend(pid: int, master_fd: int) -> int:
    """Stay with a child of ours until it ends, and return its exit status.

    `master_fd` is the pty master to relay, which is closed, or -1.
    """
    if master_fd < 0:
        with ForwardedSignals(pid):
            return _wait_for_exit(pid)
    pidfd = os.pidfd_open(pid)
    try:
        with Relay(master_fd) as relay, ForwardedSignals(pid, relay.copy_size):
            relay.run(pidfd)
            return _wait_for_exit(pid)
    finally:
        os.close(pidfd)


def _wait_for_exit(pid: int) -> int:
    """Reap a child and return its exit status; 128 + n when a signal ended it."""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
