"""The real project, by path below its open root: no link on a path is followed, no mount entered.

Whoever may write to the project can exchange a directory for a link at any moment; then the path
is not there, whatever the link leads to.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import RefusedError, SubstrateError
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.identity import Identity, identity_of
from substrate.kernel.files import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_KEPT = 64
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK


class Project:
    """An open project directory; use it in a `with` statement."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"the project {path} is gone"
            raise SubstrateError(message, f"ls -ld {path}") from error
        self._open: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory, which gives up the lock."""
        self.forget()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def forget(self) -> None:
        """Close the directories kept open: after a directory has moved, paths mean others."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def lock(self) -> None:
        """Keep every other accept, undo or recovery off this project until it is closed.

        Raises `RefusedError` when one is at work.
        """
        import fcntl

        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"the project {self.path} is being changed by another accept or undo"
            raise RefusedError(message, "try again when it has ended") from None

    def folder(self, path: str) -> int:
        """Return the descriptor of a directory below the root, borrowed."""
        if not path:
            return self.fd
        kept = self._open.get(path)
        if kept is None:
            if len(self._open) >= _KEPT:
                self.forget()
            kept = self._open[path] = open_beneath(self.fd, path, _OPEN_FOLDER)
        return kept

    def place(self, path: str) -> tuple[int, str]:
        """Return the borrowed descriptor of a path's directory, and its last name."""
        parent, _, name = path.rpartition("/")
        try:
            return self.folder(parent), name
        except OSError as error:
            error.filename = parent
            raise

    def status(self, path: str) -> os.stat_result | None:
        """Return the status of what is at a path, None when nothing is; "" is the root."""
        if not path:
            return os.fstat(self.fd)
        try:
            fd, name = self.place(path)
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if is_gone(error) or error.errno == errno.EXDEV:
                return None
            raise

    def identity(self, path: str) -> Identity | None:
        """Return the identity of what is at a path, None when nothing is."""
        status = self.status(path)
        return None if status is None else identity_of(status)

    def is_empty(self, path: str) -> bool:
        """Whether a directory has nothing in it."""
        return not os.listdir(self.folder(path))


def is_folder(status: os.stat_result) -> bool:
    """Whether a status is that of a directory."""
    return stat.S_ISDIR(status.st_mode)
