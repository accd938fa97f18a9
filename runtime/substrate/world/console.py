"""The terminal of a world: sent to an engine, or relayed to the caller's own terminal."""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select

from substrate.errors import SubstrateError
from substrate.kernel import procfs
from substrate.world.ending import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.world.output import Budget

_CHUNK = 4096
_MOST_GIVEN = 1 << 16
_TAIL = 1024
# Of a pty master; not in termios. The kernel takes no other signals there than a keyboard's.
_TIOCSIG = 0x40045436
_FROM_KEYBOARD = (2, 3, 20)  # SIGINT, SIGQUIT, SIGTSTP


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


class Listener:
    """Who listens to one more descriptor while a terminal is relayed; -1: to none any more."""

    fd = -1

    @property
    def stays(self) -> bool:
        """Whether the program goes on although it is done, as far as is known."""
        return False

    def begin(self, pidfd: int) -> None:
        """Take note of the program's process, before anything is heard."""

    def hear(self) -> bool:
        """Take what is there; return whether it says that the program is done."""
        return False


class Relay:
    """Copies between the caller's terminal and a world's, until the world lets go of its own.

    The caller's terminal is raw meanwhile, so that Ctrl-C is a byte for the world's to judge.
    `typed` was typed before; `tail` is the end of what was shown, `given` of what the world's
    terminal was given to read.
    """

    def __init__(
        self,
        master_fd: int,
        budget: Budget | None = None,
        in_fd: int = 0,
        out_fd: int = 1,
        typed: bytes = b"",
    ) -> None:
        self._master = master_fd
        self._budget = budget
        self._in = in_fd
        self._out = out_fd
        self._former: list[Any] | None = None
        self.tail = self.given = b""
        self._typed = typed

    def __enter__(self) -> Relay:
        if os.isatty(self._in):
            import termios
            import tty

            self._former = termios.tcgetattr(self._in)
            # What was typed already is kept.
            tty.setraw(self._in, termios.TCSADRAIN)
            self.copy_size()
        return self

    def __exit__(self, *_details: object) -> None:
        self.give_back()
        self.close()

    def close(self) -> None:
        """Close the world's terminal."""
        os.close(self._master)

    def give_back(self) -> None:
        """Put the caller's terminal into the mode it had."""
        if self._former is not None:
            import termios

            try:
                termios.tcsetattr(self._in, termios.TCSADRAIN, self._former)
            except termios.error:
                return  # it was hung up meanwhile

    def copy_size(self) -> None:
        """Give the world's terminal the size of the caller's."""
        if os.isatty(self._in):
            import termios

            size = fcntl.ioctl(self._in, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def run(self, pidfd: int, listen: Listener | None = None) -> bool:
        """Copy until the process ends and its last output is read.

        Other processes of the world may keep the terminal open; that does not keep us. Nor does
        input that the world will not read: it waits here, never in a write. `listen` hears when
        its descriptor is readable, and may say that this is the end; returns whether it did.
        """
        unread, is_open, said_end = self._typed, True, False
        while True:
            wanted = {self._master: select.POLLIN, pidfd: select.POLLIN}
            if listen is not None and listen.fd >= 0:
                wanted[listen.fd] = select.POLLIN
            if unread:
                wanted[self._master] |= select.POLLOUT
            elif is_open:
                wanted[self._in] = select.POLLIN
            ready = _poll(wanted, 0 if said_end else None)
            if listen is not None and listen.fd in ready:
                said_end = listen.hear()
            # From the end on, what is typed is for who asks next.
            if self._in in ready and not said_end:
                unread, is_open = self._read_input()
            if unread and ready.get(self._master, 0) & select.POLLOUT:
                count = self._write_input(unread)
                self.given = (self.given + unread[:count])[-_MOST_GIVEN:]
                unread = unread[count:]
            has_output = bool(ready.get(self._master, 0) & ~select.POLLOUT)
            if has_output and not self._copy_output():
                return said_end
            if (pidfd in ready or said_end) and not has_output:
                return said_end

    def _read_input(self) -> tuple[bytes, bool]:
        """Return what was typed, and whether more can come."""
        try:
            data = os.read(self._in, _CHUNK)
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
        self.tail = (self.tail + data)[-_TAIL:]
        if self._budget is not None:
            write_all(self._out, self._budget.take(data))
            return bool(data) and not self._budget.is_exceeded
        write_all(self._out, data)
        return bool(data)


def signal_foreground(master_fd: int, leader: int, number: int) -> bool:
    """Send a signal to the group in the foreground of a world's terminal; False when there is none.

    `leader` leads the session of the terminal, -1 is no terminal. The number of the group serves
    for nothing but to find its processes: the payload may leave that of a dead one there, and wait
    until it is the number of a group of the host. So the kernel is told to send the signal where
    the terminal is; what it does not send that way goes to each process of the session, which is
    the payload's as long as the leader is not reaped.
    """
    try:
        group = os.tcgetpgrp(master_fd) if master_fd >= 0 else 0
        if group > 0 and number in _FROM_KEYBOARD:
            # Also where the first process of a pipeline, whose number it is, has ended.
            fcntl.ioctl(master_fd, _TIOCSIG, number)
            return True
    except OSError:
        return False  # nobody is there any more
    if group > 0:
        send(procfs.identify(lambda: procfs.processes_of_group(group, leader)), number)
    return group > 0


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however small the pieces the descriptor takes."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])


def _poll(wanted: dict[int, int], timeout_ms: int | None) -> dict[int, int]:
    """Wait for the first of the events, by descriptor, and return those that came."""
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll(timeout_ms))
