"""A program in a terminal of tmux, driven by keys and read as a person sees it."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATIENCE_S = 60.0
# A prompt that waits: the directory and a dollar, or the sign of a command that goes on.
PROMPT = re.compile(r"^(\S+ \$|>)$")


class Pane:
    """One program in a terminal of its own; `socket` is a fresh path. Use as a context manager."""

    def __init__(self, socket: Path, argv: Sequence[str], cwd: Path, env: dict[str, str]) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        given = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
        self._call(
            "new-session", "-d", "-s", "s", "-x", "120", "-y", "50", *given, "-c", str(cwd),
            "env", "-i", *(f"{name}={value}" for name, value in env.items()), *argv,
        )  # fmt: skip

    def __enter__(self) -> Pane:
        return self

    def __exit__(self, *_details: object) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def type(self, line: str) -> None:
        """Type a line and the enter key."""
        self._call("send-keys", "-t", "s", "-l", line)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names for them."""
        self._call("send-keys", "-t", "s", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._call("resize-window", "-t", "s", "-x", str(columns), "-y", str(rows))

    def text(self) -> str:
        """Return all that was shown, without what a program on the whole screen showed."""
        return self._call("capture-pane", "-t", "s", "-p", "-J", "-S", "-")

    def screen(self) -> str:
        """Return what is on the screen now."""
        return self._call("capture-pane", "-t", "s", "-p")

    def coloured(self) -> str:
        """Return what is on the screen now, with the sequences of its colours."""
        return self._call("capture-pane", "-t", "s", "-p", "-e")

    def title(self) -> str:
        """Return the title that the program has given the terminal."""
        return self._call("display-message", "-t", "s", "-p", "#{pane_title}").strip()

    def wait_for_prompt(self) -> None:
        """Wait until the shell waits for a command."""
        self.wait(lambda: PROMPT.match(_last_line(self.screen())) is not None)

    def wait_for(self, text: str) -> None:
        """Wait until a text is on the screen."""
        self.wait(lambda: text in self.screen())

    def has_ended(self) -> bool:
        """Whether the program has ended."""
        done = subprocess.run([*self._tmux, "has-session"], capture_output=True, check=False)
        return done.returncode != 0

    def wait(self, condition: object) -> None:
        """Wait until a condition holds; fails with the screen."""
        assert callable(condition)
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never came:\n{self.screen()}"
            time.sleep(0.03)

    def run(self, line: str) -> None:
        """Type a command and wait until it is done."""
        before = self._prompts()
        self.type(line)
        self.wait(lambda: self._prompts() > before)
        self.wait_for_prompt()

    def _prompts(self) -> int:
        return sum(1 for line in shown_lines(self.text()) if re.match(r"^(\S+ \$|>)( |$)", line))

    def _call(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, check=True, timeout=30
        ).stdout


def shown_lines(text: str) -> list[str]:
    """Return the lines of a terminal that are not the editor's status line, without empty ends."""
    lines = [line.rstrip() for line in text.split("\n")]
    return [line for line in lines if line and not re.match(r"^\S+-[0-9a-f]{10}( · .*)?$", line)]


def _last_line(text: str) -> str:
    lines = shown_lines(text)
    return lines[-1] if lines else ""
