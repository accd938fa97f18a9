"""The pid file that engines read: complete when it appears."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid in decimal, replacing the file at once. Raises `SubstrateError`."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    # The directory may be anybody's: a file or link that waits under the name is not ours to open.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    made = False
    try:
        with open(os.open(temporary, flags, 0o644), "w", encoding="ascii") as file:
            made = True
            file.write(str(pid))
        os.rename(temporary, path)
    except OSError as error:
        if made:
            os.unlink(temporary)
        message = f"cannot write the pid file {path}: {error.strerror}"
        raise SubstrateError(message, "use --pid-file FILE in a directory you own") from None
