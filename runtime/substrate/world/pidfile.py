"""The pid file that engines read: complete when it appears."""

from __future__ import annotations

import os


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid in decimal, replacing the file at once."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    # The directory may be anybody's: a file or link that waits under the name is not ours to open.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o644), "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(temporary, path)
