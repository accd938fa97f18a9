"""Shells of this machine with a false `rm`: what a text really runs, as against what we read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("env", "nice", "xargs", "timeout", "nohup", "find", "sh", "bash", "dash", "cat")
_SYSTEM_PATH = "/usr/bin:/bin"


class RealShells:
    """A PATH of its own on which `rm` only notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self._programs = folder / "programs"
        self._programs.mkdir()
        self._log = folder / "log"
        self._folder = folder
        false_rm = self._programs / "rm"
        note = r"printf '%s\037' rm"
        false_rm.write_text(f'#!/bin/sh\n{{ {note} "$@"; printf "\\036"; }} >>{self._log}\n')
        false_rm.chmod(0o755)
        for name in PROGRAMS:
            found = shutil.which(name, path=_SYSTEM_PATH)
            assert found is not None, f"{name} is part of every machine this runs on"
            (self._programs / name).symlink_to(found)

    def calls_of_rm(self, text: str, shell: str = "bash") -> list[list[str]]:
        """Run a text and return how `rm` was called; nothing but the tests' folder is written."""
        self._log.write_text("")
        place = self._folder / "place"
        place.mkdir(exist_ok=True)
        (place / "file").touch()
        command = ["/usr/bin/prlimit", "--cpu=2", "--fsize=1000000", f"/bin/{shell}", "-c", text]
        shell_process = subprocess.Popen(
            command,
            cwd=place,
            env={"PATH": os.fspath(self._programs), "LC_ALL": "C.UTF-8", "RM": "rm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            # Until nobody has its standard error any more: what runs in the background counts too.
            shell_process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(shell_process.pid, signal.SIGKILL)
            shell_process.communicate()
        finally:
            # Something without standard error may still be writing there.
            shutil.rmtree(place, ignore_errors=True)
        calls = self._log.read_text(errors="surrogateescape").split("\036")[:-1]
        return [call.split("\037")[:-1] for call in calls]

    def runs_rm_rf(self, text: str, shell: str = "bash") -> bool:
        """Whether the text really runs `rm` with both options."""
        return any(_has_both(call[1:]) for call in self.calls_of_rm(text, shell))


def _has_both(arguments: list[str]) -> bool:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    short = {letter for word in options if word[:1] == "-" and word[:2] != "--" for letter in word}
    long = {word for word in options if word.startswith("--")}
    return ("f" in short and bool({"r", "R"} & short)) or {"--recursive", "--force"} <= long
