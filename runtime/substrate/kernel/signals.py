"""Signals by number, through the C module: `signal` makes enums of them, which costs 3 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None
else:
    import _signal

LAST = 64
DEFAULT = 0


def named(name: str) -> int | None:
    """Return the number of a name such as `SIGTERM`, None when there is no such signal."""
    if not name.startswith("SIG") or name.startswith("SIG_"):
        return None
    number = getattr(_signal, name, None)
    return None if number is None else int(number)


def send(pidfd: int, number: int) -> None:
    """Send a signal to the process of a pidfd; raises ProcessLookupError when it has ended."""
    _signal.pidfd_send_signal(pidfd, number)


def send_if_alive(pidfd: int, number: int) -> None:
    """Send a signal to the process of a pidfd, unless it has ended."""
    try:
        send(pidfd, number)
    except ProcessLookupError:
        return


def is_ignored(number: int) -> bool:
    """Whether whoever started us asked that a signal be ignored (nohup, a shell's `&`)."""
    return _signal.getsignal(number) == _signal.SIG_IGN


def handle(number: int, handler: Handler) -> Handler:
    """Set the handler of a signal and return the former one."""
    return _signal.signal(number, handler)


def unblock_all() -> None:
    """Let every signal through."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def all_numbers() -> set[int]:
    """Return the signals that can have a handler, and SIGKILL and SIGSTOP."""
    return {int(number) for number in _signal.valid_signals()}
