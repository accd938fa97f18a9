"""Commands of the interactive shell that go on in the background, on terminals of their own."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prompt_toolkit.patch_stdout import StdoutProxy

    from substrate.world.process import Started

_CHUNK = 4096


class Jobs:
    """What goes on; a thread for each copies what it says, and reaps it when it has ended."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._screen: StdoutProxy | None = None

    def take(self, started: Started) -> None:
        """Take over a command with its terminal."""
        if self._screen is None:
            from prompt_toolkit.patch_stdout import StdoutProxy

            # It writes above the prompt when there is one, as a terminal shows what a job says.
            self._screen = StdoutProxy(raw=True, sleep_between_writes=0.05)
        thread = threading.Thread(target=_follow, args=(started, self._screen), daemon=True)
        self._threads.append(thread)
        thread.start()

    def count(self) -> int:
        """Return how many go on."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return len(self._threads)


def _follow(started: Started, screen: StdoutProxy) -> None:
    os.set_blocking(started.master_fd, True)
    try:
        while True:
            try:
                data = os.read(started.master_fd, _CHUNK)
            except OSError:
                break  # EIO: its terminal is closed
            if not data:
                break
            screen.write(data.decode("utf-8", "replace"))
            screen.flush()
        started.has_ended(timeout_s=None)
    finally:
        os.close(started.master_fd)
        started.reap()
