"""The record of one change to a project: written before the first operation, read after a crash.

    pending/           a change that has begun; its `record` says which operations there will be
    undo/<number>/     one that is complete, with the pieces it displaced
    undone/            one that took another back, until what was kept of that is removed
    unfinished         there from before the first of all that until after the last: one look tells

A change is complete by the rename of the one to the other. Whoever finds `pending` with nobody at
work takes its operations back, which makes the project what it was.
"""

from __future__ import annotations

import os
from contextlib import suppress

from substrate import jsontext
from substrate.errors import SubstrateError
from substrate.filesystem.operations import Operation, operation_from
from substrate.filesystem.plan_accept import FolderTime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECORD = "record"
UNFINISHED = "unfinished"
_VERSION = 1


class Record:
    """What a change does; `pieces` is where its pieces are, "" for beside the record.

    `pieces_inode` is 0 until that directory is there and ours.
    `borrowed`: they are those of the change it undoes.
    `project`, `device` and `inode` tell which directory; `undoes` is the number of the change it
    takes back, 0 for one of its own; `settle` what remains to be done with the layer afterwards,
    `unsettle` what its undo has to do there.
    `clean_folders` are directories that only this change has touched: (path before, path after).
    `overruled` are paths where the host's own changes have given way; they are still the host's
    when they are back. `given_up` are those where what has changed since gives way to an undo, and
    is not ours if it comes back. `stood_for`: the inode of what was there -> that of what it was a
    copy of. `copies`, which is not stored: a piece's inode -> that of what it copies.
    """

    def __init__(self, project: str, device: int, inode: int) -> None:
        self.project = project
        self.device = device
        self.inode = inode
        self.pieces = ""
        self.pieces_inode = 0
        self.borrowed = False
        self.undoes = 0
        self.made_ns = 0
        self.settle: dict[str, Any] = {}
        self.unsettle: dict[str, Any] = {}
        self.operations: tuple[Operation, ...] = ()
        self.times_after: tuple[FolderTime, ...] = ()
        self.times_before: tuple[FolderTime, ...] = ()
        self.clean_folders: tuple[tuple[str, str], ...] = ()
        self.overruled: frozenset[str] = frozenset()
        self.given_up: frozenset[str] = frozenset()
        self.stood_for: dict[int, int] = {}
        self.copies: dict[int, int] = {}

    def write(self, directory: str) -> None:
        """Write the record into a directory at once, and durably."""
        head = {
            "version": _VERSION, "project": self.project, "device": self.device,
            "inode": self.inode, "pieces": self.pieces,
            "pieces_inode": self.pieces_inode, "borrowed": self.borrowed, "undoes": self.undoes,
            "made_ns": self.made_ns, "settle": self.settle,
            "unsettle": self.unsettle, "clean": self.clean_folders,
            "overruled": sorted(self.overruled), "given_up": sorted(self.given_up),
            "stood_for": list(self.stood_for.items()),
            "after": [[time.path, time.mtime_ns] for time in self.times_after],
            "before": [[time.path, time.mtime_ns] for time in self.times_before],
        }  # fmt: skip
        path = os.path.join(directory, RECORD)
        with open(path + ".new", "wb") as file:
            file.write(jsontext.dumps_line(head).encode() + b"\n")
            file.writelines(
                jsontext.dumps_line(operation.to_json()).encode() + b"\n"
                for operation in self.operations
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
        sync_directory(directory)


def read_record(directory: str) -> Record | None:
    """Return the record in a directory, None when it has none (yet).

    Raises `SubstrateError` when it is damaged.
    """
    path = os.path.join(directory, RECORD)
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    try:
        head = jsontext.loads(lines[0])
        if head["version"] != _VERSION:
            message = f"{path} was written by another version of Substrate"
            raise SubstrateError(message, "use that version")
        found = Record(head["project"], head["device"], head["inode"])
        found.pieces, found.pieces_inode = head["pieces"], head["pieces_inode"]
        found.borrowed = head["borrowed"]
        found.undoes = head["undoes"]
        found.made_ns = head["made_ns"]
        found.settle, found.unsettle = head["settle"], head["unsettle"]
        found.clean_folders = tuple((before, after) for before, after in head["clean"])
        found.overruled = frozenset(head.get("overruled", ()))
        found.given_up = frozenset(head.get("given_up", ()))
        found.stood_for = dict(head.get("stood_for", ()))
        found.times_after = tuple(FolderTime(*pair) for pair in head["after"])
        found.times_before = tuple(FolderTime(*pair) for pair in head["before"])
        found.operations = tuple(operation_from(jsontext.loads(line)) for line in lines[1:])
    except (IndexError, KeyError, TypeError, ValueError):
        message = f"{path} is damaged"
        raise SubstrateError(message, f"what it displaced is in {directory}") from None
    return found


class Store:
    """The changes of one world to its project, in a directory of the world's data."""

    def __init__(self, directory: str) -> None:
        self.path = directory
        self.pending = os.path.join(directory, "pending")
        self.undo = os.path.join(directory, "undo")
        self.undone = os.path.join(directory, "undone")
        self.unfinished = os.path.join(directory, UNFINISHED)

    def prepare(self) -> None:
        """Make the directories."""
        for path in (self.path, self.undo):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def numbers(self) -> list[int]:
        """Return the numbers of the changes that can be undone, oldest first."""
        try:
            names = os.listdir(self.undo)
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdecimal())

    def place(self, number: int) -> str:
        """Return the directory of a change."""
        return os.path.join(self.undo, str(number))

    def begin(self) -> None:
        """Make the directory of a change that begins; nothing else may be pending."""
        self.mark()
        os.mkdir(self.pending, 0o700)
        sync_directory(self.path)

    def mark(self) -> None:
        """Let everybody know that something begins which must not be left half done."""
        os.close(os.open(self.unfinished, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def rest(self) -> None:
        """Let everybody know that nothing is left to do."""
        with suppress(FileNotFoundError):
            os.unlink(self.unfinished)

    def commit(self, to: str) -> None:
        """Complete the pending change."""
        os.rename(self.pending, to)
        sync_directory(os.path.dirname(to))
        sync_directory(self.path)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
