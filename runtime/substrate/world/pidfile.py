"""The pid file that engines read: complete when it appears."""

from __future__ import annotations

import os


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid in decimal, replacing the file at once."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    with open(temporary, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(temporary, path)
