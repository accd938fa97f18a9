"""Shells of this machine with a false `rm`: what a text really runs, as against what we read."""

from __future__ import annotations

import os
import shutil
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
        false_rm.write_text(f'#!/bin/sh\nprintf "%s " rm "$@" >>{self._log}\necho >>{self._log}\n')
        false_rm.chmod(0o755)
        for name in PROGRAMS:
            found = shutil.which(name, path=_SYSTEM_PATH)
            assert found is not None, f"{name} is part of every machine this runs on"
            (self._programs / name).symlink_to(found)

    def calls_of_rm(self, text: str, shell: str = "bash") -> list[str]:
        """Run a text and return how `rm` was called; nothing but the tests' folder is written."""
        self._log.write_text("")
        place = self._folder / "place"
        place.mkdir(exist_ok=True)
        (place / "file").touch()
        command = ["/usr/bin/prlimit", "--cpu=2", "--fsize=1000000", f"/bin/{shell}", "-c", text]
        try:
            subprocess.run(
                command,
                cwd=place,
                env={"PATH": os.fspath(self._programs), "LC_ALL": "C.UTF-8", "RM": "rm"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=20,
            )
        finally:
            shutil.rmtree(place)
        return self._log.read_text().splitlines()

    def runs_rm_rf(self, text: str, shell: str = "bash") -> bool:
        """Whether the text really runs `rm` with both options."""
        calls = (call.split() for call in self.calls_of_rm(text, shell))
        return any(
            {"r", "f"} <= {letter for word in call[1:] if word[0] == "-" for letter in word}
            or {"--recursive", "--force"} <= set(call)
            for call in calls
        )
