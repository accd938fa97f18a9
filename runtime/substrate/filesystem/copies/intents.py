"""What is about to be brought into a copy from the project, noted before anything is done there.

Beside the copy, until its new table is written. Whatever a call that was killed has left at these
paths is none of the world's changes, and is made anew by the next call.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Places with all that is in them, and directories by themselves.
    Places = tuple[set[str], set[str]]

_FILE = "updating"
_WHOLE, _ITSELF = b"w", b"i"


class Intents:
    """The notes of one call; those of one that was killed stay until this one is complete."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _FILE)
        self._noted: set[tuple[bytes, str]] = set()

    def note(self, path: str, *, itself: bool = False) -> None:
        """Note a path of the copy, with all that is in it unless it is a directory `itself`."""
        note = (_ITSELF if itself else _WHOLE, path)
        if note in self._noted:
            return
        self._noted.add(note)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o600)
        try:
            os.write(fd, note[0] + os.fsencode(path) + b"\0")
        finally:
            os.close(fd)


def read_intents(directory: str) -> Places:
    """Return what calls that were killed may have left half done."""
    try:
        with open(os.path.join(directory, _FILE), "rb") as file:
            notes = file.read().split(b"\0")[:-1]
    except FileNotFoundError:
        return set(), set()
    whole = {os.fsdecode(note[1:]) for note in notes if note.startswith(_WHOLE)}
    return whole, {os.fsdecode(note[1:]) for note in notes if note.startswith(_ITSELF)}


def forget_intents(directory: str) -> None:
    """Forget them: the table tells all now."""
    path = os.path.join(directory, _FILE)
    if os.path.lexists(path):
        os.unlink(path)


def is_within(path: str, roots: set[str]) -> bool:
    """Whether a path is one of these, or in one."""
    while path and roots:
        if path in roots:
            return True
        path = path.rpartition("/")[0]
    return False
