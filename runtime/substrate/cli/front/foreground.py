"""Staying with a command in the foreground: its streams are the caller's, or copied to them.

The caller's terminal is never given away: on one, the command gets a terminal of its own, and
what it says is copied. A payload cannot change its modes or read what is typed to others.
"""

from __future__ import annotations

import errno
import os
import select

from substrate.api.capture import GRACE_S, Ended, hits_of
from substrate.cli.front.screen import begins_line
from substrate.kernel import signals
from substrate.world.console import Listener, Relay, write_all
from substrate.world.foreground import ForwardedSignals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from types import TracebackType

    from substrate.api.capture import Start
    from substrate.world.output import Budget
    from substrate.world.process import Started

_CHUNK = 1 << 16
# From the word that a shell is done to its end, if nothing of it goes on.
_LAST_WORDS_S = 0.3
_SIGTERM = 15
_KEYBOARD = (2, 3)  # SIGINT, SIGQUIT


def wants_terminal() -> bool:
    """Whether a command in the foreground gets a terminal: when it writes to one."""
    return os.isatty(1)


class Foreground:
    """Attends one command in the foreground; `listen` and `typed` as the `Relay` has them.

    When `listen` says the end of a command that goes on, that is `left_running`: who attended it
    has its terminal and must reap it.
    """

    def __init__(
        self,
        timeout_s: float | None = None,
        listen: Listener | None = None,
        budget: Budget | None = None,
        typed: bytes = b"",
    ) -> None:
        self._typed = typed
        self._timeout_s = timeout_s
        self._listen = listen
        self._budget = budget
        self.left_running: Started | None = None
        # Whether what was shown on a terminal ends where a line begins.
        self.at_line_start = True
        # The end of what was typed to it.
        self.given = b""

    def attend(self, start: Start, *, terminal: bool) -> Ended:
        """Start the command and stay with it to its end."""
        presence = _Presence(self._budget, self._typed, terminal=terminal)
        descriptors, ours, theirs = _streams(terminal=terminal, counted=self._budget is not None)
        try:
            started = start(descriptors, terminal, presence.enter)
        except BaseException:
            presence.leave()
            for fd in (*theirs, *ours.values()):
                os.close(fd)
            raise
        for fd in theirs:
            os.close(fd)
        watch = _Watch(started, self._timeout_s)
        goes_on = False
        try:
            if self._listen is not None:
                self._listen.begin(started.pidfd)
            with watch:
                said_end = presence.attend(started, ours, self._listen)
            if watch.timed_out or (self._budget is not None and self._budget.is_exceeded):
                started.kill_all()
            self.at_line_start = begins_line(presence.tail)
            self.given = presence.given
            goes_on = said_end and not watch.timed_out and self._goes_on(started)
        finally:
            presence.leave(keep_terminal=goes_on)
            code = 0 if goes_on else started.reap()
        self.left_running = started if goes_on else None
        return Ended(code, watch.timed_out, limits_hit=hits_of(self._budget))

    def _goes_on(self, started: Started) -> bool:
        if self._listen is not None and self._listen.stays:
            return True
        return not started.has_ended(_LAST_WORDS_S)


class OwnStreams:
    """Attends a command of the host, which has the caller's own streams and terminal.

    What the keyboard sends reaches it as well as us; as a shell does, we leave that to it.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self._timeout_s = timeout_s

    def attend(self, start: Start, *, terminal: bool) -> Ended:
        """Start the command and stay with it to its end."""
        del terminal
        former = [(number, signals.handle(number, _wait_on)) for number in _KEYBOARD]
        try:
            started = start({}, False, None)
            watch = _Watch(started, self._timeout_s)
            with watch:
                started.has_ended(timeout_s=None)
            return Ended(started.reap(), watch.timed_out)
        finally:
            for number, handler in former:
                signals.handle(number, handler)


def _wait_on(_number: int, _frame: object) -> None:
    """Do nothing, which unlike ignoring the signal is not inherited."""


class _Presence:
    """Signals are passed on and the terminal is relayed, from before the program runs."""

    def __init__(self, budget: Budget | None, typed: bytes, *, terminal: bool) -> None:
        self._budget = budget
        self._typed = typed
        self._terminal = terminal
        self._relay: Relay | None = None
        self._signals: ForwardedSignals | None = None

    def enter(self, started: Started) -> None:
        """Be there, for a process that waits to run its program."""
        if self._terminal:
            keyboard = 0 if os.isatty(0) else 1
            self._relay = Relay(started.master_fd, self._budget, keyboard, 1, self._typed)
            self._relay.__enter__()
        resize = None if self._relay is None else self._relay.copy_size
        self._signals = ForwardedSignals(
            started.pid, resize, terminal_fd=started.master_fd if self._terminal else -1
        )
        self._signals.__enter__()

    def attend(self, started: Started, ours: dict[int, int], listen: Listener | None) -> bool:
        """Stay until the process has ended, or `listen` says that this is the end: then True."""
        assert self._signals is not None  # noqa: S101 -- for the type checker
        self._signals.begin()
        if self._relay is not None:
            return self._relay.run(started.pidfd, listen)
        if ours:
            _copy(ours, started.pidfd, self._budget)
        else:
            started.has_ended(timeout_s=None)
        return False

    @property
    def tail(self) -> bytes:
        """The end of what the command has shown on its terminal."""
        return b"" if self._relay is None else self._relay.tail

    @property
    def given(self) -> bytes:
        """The end of what the command's terminal was given to read."""
        return b"" if self._relay is None else self._relay.given

    def leave(self, *, keep_terminal: bool = False) -> None:
        """Give back the terminal and the signals; the command's own terminal is closed or kept."""
        if self._signals is not None:
            self._signals.__exit__(None, None, None)
        if self._relay is not None:
            self._relay.give_back()
            if not keep_terminal:
                self._relay.close()
        self._signals = self._relay = None


class _Watch:
    """Ends a process when its time is over."""

    def __init__(self, started: Started, timeout_s: float | None) -> None:
        self.timed_out = False
        self._started = started
        self._timeout_s = timeout_s
        self._timer: threading.Timer | None = None

    def __enter__(self) -> None:
        if self._timeout_s is not None:
            # Loaded where there is a limit: it costs 3 ms.
            import threading

            self._timer = threading.Timer(self._timeout_s, self._end)
            self._timer.daemon = True
            self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            # Joined before the process is reaped: its number must not be signalled after that.
            self._timer.cancel()
            self._timer.join()

    def _end(self) -> None:
        self.timed_out = True
        self._started.signal(_SIGTERM)
        if not self._started.has_ended(GRACE_S):
            self._started.kill_all()


def _streams(*, terminal: bool, counted: bool) -> tuple[dict[int, int], dict[int, int], list[int]]:
    """Return what to give by number, what of ours to copy to where, and what to close."""
    given: dict[int, int] = {}
    ours: dict[int, int] = {}
    theirs: list[int] = []
    if terminal:
        # The rest is the command's own terminal.
        given = {number: number for number in (0, 2) if not os.isatty(number)}
        return given, ours, theirs
    if os.isatty(0):
        # Whoever else stands in the pipeline may be reading it.
        theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        given[0] = theirs[-1]
    for number in (1, 2):
        # Standard output is no terminal here, and counted only where there is a limit.
        if counted or os.isatty(number):
            ours[number], given[number] = os.pipe2(os.O_CLOEXEC)
            theirs.append(given[number])
    return given, ours, theirs


def _copy(ours: dict[int, int], pidfd: int, budget: Budget | None) -> None:
    """Copy each of ours to its number until the process has ended and all is read."""
    targets = {fd: number for number, fd in ours.items()}
    for fd in targets:
        os.set_blocking(fd, False)
    while True:
        poll = select.poll()
        for fd in (pidfd, *targets):
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        read = [_pass_on(fd, targets, budget) for fd in list(targets) if fd in ready]
        if pidfd in ready and not any(read):
            break
        if budget is not None and budget.is_exceeded:
            break
    for fd in targets:
        os.close(fd)


def _pass_on(fd: int, targets: dict[int, int], budget: Budget | None) -> bool:
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return False
    if not data:
        os.close(fd)
        del targets[fd]
        return False
    try:
        write_all(targets[fd], data if budget is None else budget.take(data))
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO, errno.EBADF):
            raise
        # Nobody reads it: the command learns that as it would without us.
        os.close(fd)
        del targets[fd]
        return False
    return True
