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


class Attendance:
    """Within `with`: signals go on to a child of ours, and its terminal is relayed.

    Entered before the payload runs, so that no signal can come in between and end us instead of
    it. `master_fd` is the pty master to relay, closed at the end, or -1.
    """

    def __init__(self, pid: int, master_fd: int) -> None:
        self._pid = pid
        self._modes: list[Any] | None = None
        self._relay = None if master_fd < 0 else Relay(master_fd)
        resize = None if self._relay is None else self._relay.copy_size
        self._signals = ForwardedSignals(pid, resize)

    def __enter__(self) -> Attendance:
        if self._relay is not None:
            self._relay.__enter__()
        elif os.isatty(0):
            # Given to the payload as it is, which may leave it without echo, or worse.
            import termios

            self._modes = termios.tcgetattr(0)
        self._signals.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._signals.__exit__(kind, value, traceback)
        if self._relay is not None:
            self._relay.__exit__(kind, value, traceback)
        if self._modes is not None:
            _restore_modes(self._modes)

    def wait(self) -> int:
        """Stay until the child ends; reap it and return its exit status, 128 + n for a signal."""
        if self._relay is not None:
            pidfd = os.pidfd_open(self._pid)
            try:
                self._relay.run(pidfd)
            finally:
                os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return code if code >= 0 else 128 - code


def _restore_modes(modes: list[Any]) -> None:
    import termios

    try:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
    except termios.error:
        return  # the terminal was hung up, or we are in the background
