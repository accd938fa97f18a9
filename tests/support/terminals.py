"""A terminal with a program on it, as a person at a keyboard has them."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S = 15.0


class Terminal:
    """A pty whose slave is the controlling terminal of a started program."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], cwd: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        self.resize(24, 80)
        self.process = subprocess.Popen(
            argv,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=env,
            cwd=cwd,
            start_new_session=True,
            # No threads here; process_group and the like cannot take a terminal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_details: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size, as a window does; the kernel sends SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.master, text.encode())

    def expect(self, text: str) -> str:
        """Wait until a text is shown; return what came before it, and forget both."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} was not shown, but {self.seen!r}"
            self._read(0.1)
        found, _, self.seen = self.seen.partition(text)
        return found

    def ask(self, command: str) -> str:
        """Type a shell command and return what it shows."""
        # The quotes keep the typed lines, which the terminal echoes, from being the answer.
        self.type(f"echo sta''rt\n{command}\necho en''d\n")
        self.expect("start\r\n")
        return self.expect("end\r\n").replace("\r", "")

    def wait(self) -> int:
        """Wait for the program's end and return its status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running, and showed {self.seen!r}"
            self._read(0.02)
        while self._read(0.02):
            pass
        return self.process.wait()

    @property
    def settings(self) -> list[Any]:
        """The terminal's settings now."""
        return termios.tcgetattr(self.slave)

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self.master], [], [], timeout_s)[0]:
            return False
        with suppress(OSError):
            self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        return True
