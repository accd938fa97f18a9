"""The terminal of a world: sent to an engine, or relayed to the caller's own terminal."""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select

from substrate.errors import SubstrateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.world.output import Budget

_CHUNK = 4096


def connect_console(path: str) -> _socket.socket:
    """Connect to an engine's console socket, before anything is made."""
    console = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        console.connect(path)
    except OSError as error:
        console.close()
        message = f"cannot connect to the console socket {path}: {error.strerror}"
        raise SubstrateError(message) from None
    return console


def send_console(console: _socket.socket, master_fd: int) -> None:
    """Send the pty master to an engine, with the name runc sends, and close both."""
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master_fd.to_bytes(4, "little"))
    console.sendmsg([b"/dev/ptmx"], [rights])
    console.close()
    os.close(master_fd)


class Relay:
    """Copies between the caller's terminal and a world's, until the world lets go of its own.

    The caller's terminal is raw meanwhile, so that Ctrl-C is a byte for the world's to judge.
    """

    def __init__(self, master_fd: int, budget: Budget | None = None) -> None:
        self._master = master_fd
        self._budget = budget
        self._former: list[Any] | None = None

    def __enter__(self) -> Relay:
        if os.isatty(0):
            import termios
            import tty

            self._former = termios.tcgetattr(0)
            tty.setraw(0)
            self.copy_size()
        return self

    def __exit__(self, *_details: object) -> None:
        if self._former is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._former)
        os.close(self._master)

    def copy_size(self) -> None:
        """Give the world's terminal the size of the caller's."""
        if os.isatty(0):
            import termios

            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def run(self, pidfd: int) -> None:
        """Copy until the process ends and its last output is read.

        Other processes of the world may keep the terminal open; that does not keep us. Nor does
        input that the world will not read: it waits here, never in a write.
        """
        unread, is_open = b"", True
        while True:
            wanted = {self._master: select.POLLIN, pidfd: select.POLLIN}
            if unread:
                wanted[self._master] |= select.POLLOUT
            elif is_open:
                wanted[0] = select.POLLIN
            ready = _poll(wanted)
            if 0 in ready:
                unread, is_open = self._read_input()
            if unread and ready.get(self._master, 0) & select.POLLOUT:
                unread = unread[self._write_input(unread) :]
            has_output = bool(ready.get(self._master, 0) & ~select.POLLOUT)
            if has_output and not self._copy_output():
                return
            if pidfd in ready and not has_output:
                return

    def _read_input(self) -> tuple[bytes, bool]:
        """Return what was typed, and whether more can come."""
        try:
            data = os.read(0, _CHUNK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return b"", True
            if error.errno != errno.EIO:
                raise
            data = b""
        # The end of a piped input is Ctrl-D to whoever reads a terminal.
        return data or b"\x04", bool(data)

    def _write_input(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            # EIO: nobody is left to read it.
            if error.errno != errno.EIO:
                raise
            return len(data)

    def _copy_output(self) -> bool:
        try:
            data = os.read(self._master, _CHUNK)
        except OSError as error:
            # EIO: every descriptor of the other side is closed.
            if error.errno == errno.EIO:
                return False
            if error.errno == errno.EAGAIN:
                return True
            raise
        if self._budget is not None:
            write_all(1, self._budget.take(data))
            return bool(data) and not self._budget.is_exceeded
        write_all(1, data)
        return bool(data)


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however small the pieces the descriptor takes."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])


def _poll(wanted: dict[int, int]) -> dict[int, int]:
    """Wait for the first of the events, by descriptor, and return those that came."""
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll())
