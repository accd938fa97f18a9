"""What accept and undo themselves have left in a project: no change of the host's.

Kept by inode, because a file that somebody has renamed or touched since has another ctime. A file
that was restored from a copy stands for the one that was displaced.
"""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.filesystem.identity import Identity, identity_from, identity_of

KNOWN_FILE = "known.json"
# Of these, what a diff needs: few, and mostly not there at all.
COPIES_FILE = "copies.json"


class Known:
    """Identities by inode, in a file that is replaced at once."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, KNOWN_FILE)
        self._identities: dict[int, Identity] = {}
        self._stands_for: dict[int, int] = {}
        # Of these, names come and go by our doing, which the kernel counts as a status change.
        self._linked: set[int] = set()
        try:
            with open(self._path, "rb") as file:
                stored = jsontext.loads(file.read())
        except FileNotFoundError:
            return
        for row, inode, linked in stored:
            identity = identity_from(row)
            if identity is not None:
                self._identities[identity.inode] = identity
                self._stands_for[identity.inode] = inode
                if linked:
                    self._linked.add(identity.inode)

    def holds(self, status: os.stat_result) -> bool:
        """Whether this is a file as we left it."""
        return self._knows(identity_of(status))

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the project was ever changed by us."""
        return not self._identities

    @property
    def copies(self) -> dict[int, int]:
        """The inode of each file that was restored from a copy -> that of the original."""
        return {now: was for now, was in self._stands_for.items() if now != was}

    def was_here(self, inode: int) -> bool:
        """Whether we have left, or displaced, a file of that inode."""
        return inode in self._identities

    def stands_for(self, identity: Identity) -> int:
        """Return the inode of the file that one we have left is a copy of: its own, if of none.

        To be noted while it is there: once it is gone, its inode is the next file's.
        """
        inode = identity.inode
        return self._stands_for[inode] if self._knows(identity) else inode

    def add(
        self, identity: Identity, stands_for: int = 0, *, linked: bool = False, new: bool = False
    ) -> None:
        """Take in what we have left somewhere; `stands_for` is the inode it is a copy of.

        `linked`: it has several names, some of which may be ours. `new`: it was made by us, so
        that the inode may have been another file's before.
        """
        inode = identity.inode
        before = self._identities.get(inode)
        if stands_for:
            original = stands_for
        elif new and (before is None or not before.same_content(identity)):
            original = inode
        else:
            original = self._stands_for.get(inode, inode)
        self._identities[inode] = identity
        self._stands_for[inode] = original
        if linked:
            self._linked.add(inode)

    def is_what_was_left(self, status: os.stat_result, left: Identity) -> bool:
        """Whether a file is unchanged since we left it as `left`, restorations not counting."""
        if identity_of(status) == left:
            return True
        same = left.inode in {status.st_ino, self._stands_for.get(status.st_ino, 0)}
        return same and self.holds(status)

    def _knows(self, now: Identity) -> bool:
        left = self._identities.get(now.inode)
        if left is None or left.inode not in self._linked:
            return left == now
        return left.same_content(now) and left.mode == now.mode

    def write(self) -> None:
        """Keep everything on disk."""
        rows = [
            [identity.to_json(), self._stands_for[inode], inode in self._linked]
            for inode, identity in self._identities.items()
        ]
        _replace(self._path, jsontext.dumps_line(rows))
        if self.copies:
            pairs = [list(pair) for pair in self.copies.items()]
            _replace(
                os.path.join(os.path.dirname(self._path), COPIES_FILE), jsontext.dumps_line(pairs)
            )


def read_copies(directory: str) -> dict[int, int]:
    """Return `Known.copies` of a directory without reading all the rest."""
    try:
        with open(os.path.join(directory, COPIES_FILE), "rb") as file:
            return dict(jsontext.loads(file.read()))
    except FileNotFoundError:
        return {}


def _replace(path: str, text: str) -> None:
    with open(path + ".new", "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
