"""Staying in the foreground: signals go on to the world, its end comes back as a status."""

from __future__ import annotations

import errno
import os

from substrate.kernel import procfs, signals
from substrate.world.console import Relay, signal_foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from resource import struct_rusage
    from types import FrameType, TracebackType
    from typing import Any

    from substrate.world.output import Limited

# Not for the world: about our own children and terminal, or sent by our own faults.
_NOT_FORWARDED = tuple(
    f"SIG{name}"
    for name in (
        "CHLD", "KILL", "STOP", "PIPE", "SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS", "TTIN",
        "TTOU", "XFSZ", "URG", "WINCH", "PROF", "TSTP",
    )
)  # fmt: skip
_SIGWINCH = 28
# From a keyboard they are for the whole foreground group.
_KEYBOARD = (2, 3)  # SIGINT, SIGQUIT
# Who sends one of these to a command in the foreground wants it to end.
_ENDING = (1, *_KEYBOARD, 15)  # SIGHUP, SIGTERM
_SIGKILL = 9


class ForwardedSignals:
    """Within `with`: signals to this process are passed on to `pid`, a child of ours.

    They are kept until `begin`, so that they reach the payload and not what runs before it.
    `reaped`: the process is our own reaping init, which hears everything. `terminal_fd` is the
    master of its terminal, for what a keyboard sends. `ended_by` is the
    signal that ended a world whose first process would not have heard it.
    """

    def __init__(
        self,
        pid: int,
        on_resize: Callable[[], None] | None = None,
        *,
        reaped: bool = False,
        terminal_fd: int = -1,
    ) -> None:
        self.ended_by = 0
        self._terminal_fd = terminal_fd
        self._pid = pid
        self._reaped = reaped
        self._on_resize = on_resize
        self._early: list[int] | None = []
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

    def begin(self) -> None:
        """Pass on what came so far, and from now on at once."""
        early, self._early = self._early, None
        for number in early or ():
            self._pass_on(number)

    def stop(self) -> None:
        """Keep what comes from now on to ourselves: the process is about to be reaped."""
        self._early = []

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if self._early is None:
            self._pass_on(number)
        else:
            self._early.append(number)

    def _pass_on(self, number: int) -> None:
        # Not yet reaped, so the pid is still its own.
        try:
            if self._reaped:
                os.kill(self._pid, number)
            elif number in _ENDING and procfs.is_deaf_init(self._pid, number):
                self.ended_by = number
                os.kill(self._pid, _SIGKILL)
            elif number in _KEYBOARD:
                if not signal_foreground(self._terminal_fd, self._pid, number):
                    os.killpg(self._pid, number)
            else:
                os.kill(self._pid, number)
        except ProcessLookupError:
            return

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        if self._on_resize is not None:
            self._on_resize()


class Attendance:
    """Within `with`: signals go on to a child of ours, and its terminal is relayed.

    Entered before the payload runs, so that no signal can come in between and end us instead of
    it. `master_fd` is the pty master to relay, closed at the end, or -1. `output` is what its
    output is limited by. `reaped`: the child is our own reaping init. `usage` is what wait4(2)
    has told, after `wait`.
    """

    def __init__(
        self, pid: int, master_fd: int, output: Limited | None = None, *, reaped: bool = False
    ) -> None:
        self.usage: struct_rusage | None = None
        self._pid = pid
        self._output = output
        self._modes: list[Any] | None = None
        budget = None if output is None else output.budget
        self._relay = None if master_fd < 0 else Relay(master_fd, budget)
        resize = None if self._relay is None else self._relay.copy_size
        self._signals = ForwardedSignals(pid, resize, reaped=reaped)

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
        self._signals.begin()
        pipes = None if self._output is None else self._output.pipes
        if self._relay is not None or pipes is not None:
            pidfd = os.pidfd_open(self._pid)
            try:
                if self._relay is not None:
                    self._relay.run(pidfd)
                elif pipes is not None:
                    pipes.relay(pidfd)
            finally:
                os.close(pidfd)
        if self._output is not None and self._output.budget.is_exceeded:
            self._output.end()
        # No signal may go to its number once that can be another's.
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        self._signals.stop()
        _, status, self.usage = os.wait4(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -_SIGKILL and self._signals.ended_by:
            return 128 + self._signals.ended_by
        return code if code >= 0 else 128 - code


def _restore_modes(modes: list[Any]) -> None:
    import termios

    try:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
    except termios.error:
        return  # the terminal was hung up, or we are in the background
