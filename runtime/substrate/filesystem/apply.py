"""Carries operations out on a project, and takes them back.

Every operation checks that it meets what was planned for, before and after the rename: between the
two looks of anybody a file may be written to. Taking back decides by what is there, not by notes of
progress, so it can be interrupted and repeated: a piece that is in its place has not been used.

Nothing that is not recognised is ever removed. What somebody put in the place of ours while it was
there is kept among the pieces, and its number told.
"""

from __future__ import annotations

import os

from substrate.filesystem.conflict import CHANGED, MADE, REMOVED
from substrate.filesystem.copying import Metadata, metadata_at, set_metadata, set_mtime
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.identity import Identity, identity_of
from substrate.filesystem.operations import IN, OUT, SET, SWAP, Operation
from substrate.kernel.files import exchange, move
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.plan_accept import FolderTime
    from substrate.filesystem.project import Project


class Interference(Exception):  # noqa: N818 -- an answer of this room; the caller rolls back
    """Somebody changed a path between the plan and its operation."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class Hands:
    """Does and takes back operations between a project and a directory of pieces."""

    def __init__(self, project: Project, pieces_fd: int, operations: Iterable[Operation]) -> None:
        """Take the two sides and all operations of the change, done or not."""
        self._project = project
        self._pieces_fd = pieces_fd
        self._forward = {IN: self._in, OUT: self._out, SWAP: self._swap, SET: self._set}
        self._backward = {
            IN: self._in_back,
            OUT: self._out_back,
            SWAP: self._swap_back,
            SET: self._set_back,
        }
        self.rescued: list[tuple[int, str]] = []
        self.lost: list[tuple[str, str]] = []
        # Inode -> the times this very change gives the file, or takes from it.
        self._own_times: dict[int, set[int]] = {}
        for operation in operations:
            there, old, new = operation.there, operation.old, operation.new
            if there is not None and old is not None and new is not None:
                self._own_times.setdefault(there.inode, set()).update((old.mtime_ns, new.mtime_ns))

    def run(self, operation: Operation) -> None:
        """Carry one operation out; raises `Interference` when it meets something else."""
        try:
            self._forward[operation.kind](operation)
        except OSError as error:
            if is_gone(error):
                raise Interference(operation.path, REMOVED) from error
            raise

    def take_back(self, operation: Operation) -> None:
        """Undo one operation if it has been done."""
        try:
            self._backward[operation.kind](operation)
        except OSError as error:
            # Its directory is not there: then nor is what was done in it.
            if not is_gone(error):
                raise
            if operation.kind == OUT and self._piece(operation) is not None:
                self.rescued.append((operation.piece, operation.path))

    def set_times(self, times: Iterable[FolderTime]) -> None:
        """Set the mtimes of directories; those that are gone are left out."""
        for time in times:
            try:
                set_mtime(self._project.folder(time.path), "", time.mtime_ns)
            except OSError as error:
                if not is_gone(error):
                    raise

    def piece_is_empty(self, piece: int) -> bool:
        """Whether a piece that is a directory has nothing in it."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(str(piece), flags, dir_fd=self._pieces_fd)
        try:
            return not os.listdir(fd)
        finally:
            os.close(fd)

    def _in(self, operation: Operation) -> None:
        fd, name = self._project.place(operation.path)
        try:
            move(self._pieces_fd, str(operation.piece), fd, name)
        except FileExistsError as error:
            raise Interference(operation.path, MADE) from error
        self._forget(operation.staged)

    def _out(self, operation: Operation) -> None:
        fd, name = self._project.place(operation.path)
        self._expect(operation, fd, name)
        move(fd, name, self._pieces_fd, str(operation.piece))
        self._forget(operation.there)
        self._check_displaced(operation)

    def _swap(self, operation: Operation) -> None:
        fd, name = self._project.place(operation.path)
        self._expect(operation, fd, name)
        exchange(fd, name, self._pieces_fd, str(operation.piece))
        self._project.forget()
        self._check_displaced(operation)

    def _set(self, operation: Operation) -> None:
        fd, name = self._where(operation.path)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False) if name else os.fstat(fd)
        there = operation.there
        if there is not None and there.inode != status.st_ino:
            raise Interference(operation.path, CHANGED)
        old, new = operation.old, operation.new
        if old is None or new is None:
            return
        now, is_folder = metadata_at(fd, name), identity_of(status).is_folder
        # Other names of the file may have had it set before, to these or to other times.
        any_time = is_folder or now.mtime_ns in self._own_times.get(status.st_ino, ())
        if not (_alike(now, old, any_time=any_time) or _alike(now, new, any_time=any_time)):
            raise Interference(operation.path, CHANGED)
        if is_folder:
            new = replace(new, mtime_ns=status.st_mtime_ns)
        self.lost += [(operation.path, what) for what in set_metadata(fd, name, new)]

    def _expect(self, operation: Operation, fd: int, name: str) -> None:
        found = identity_of(os.stat(name, dir_fd=fd, follow_symlinks=False))
        if not self.is_expected(operation.there, found):
            raise Interference(operation.path, CHANGED)

    def is_expected(self, expected: Identity | None, found: Identity) -> bool:
        """Whether a file is what it was, but for a time that this change itself sets."""
        if expected is None:
            return False
        if found.mtime_ns in self._own_times.get(found.inode, ()):
            expected = replace(expected, mtime_ns=found.mtime_ns)
        return expected.same_content(found)

    def _check_displaced(self, operation: Operation) -> None:
        """Look again at what was moved away, now that no path leads to it any more."""
        found = self._piece(operation)
        there = operation.there
        if found is None or there is None or not self.is_expected(there, found):
            raise Interference(operation.path, CHANGED)
        if there.is_folder and not operation.moved and not self.piece_is_empty(operation.piece):
            raise Interference(operation.path, CHANGED)

    def _in_back(self, operation: Operation) -> None:
        if self._piece(operation) is not None:
            return
        fd, name = self._project.place(operation.path)
        found = _identity(fd, name)
        if found is None or operation.staged is None or found.inode != operation.staged.inode:
            # Removed or replaced by somebody since: theirs now.
            return
        move(fd, name, self._pieces_fd, str(operation.piece))
        self._forget(found)
        if not operation.moved:
            self._rescue_changed(operation)

    def _out_back(self, operation: Operation) -> None:
        found = self._piece(operation)
        if found is None:
            return
        fd, name = self._project.place(operation.path)
        try:
            move(self._pieces_fd, str(operation.piece), fd, name)
        except FileExistsError:
            exchange(self._pieces_fd, str(operation.piece), fd, name)
            self.rescued.append((operation.piece, operation.path))
        self._forget(found)

    def _swap_back(self, operation: Operation) -> None:
        found = self._piece(operation)
        there = operation.there
        if found is None or there is None or found.inode != there.inode:
            return
        fd, name = self._project.place(operation.path)
        if _identity(fd, name) is None:
            move(self._pieces_fd, str(operation.piece), fd, name)
            return
        exchange(fd, name, self._pieces_fd, str(operation.piece))
        self._project.forget()
        self._rescue_changed(operation)

    def _set_back(self, operation: Operation) -> None:
        fd, name = self._where(operation.path)
        found = _identity(fd, name)
        there, old, new = operation.there, operation.old, operation.new
        if found is None or old is None or new is None:
            return
        if there is not None and there.inode != found.inode:
            return
        now = metadata_at(fd, name)
        wanted = Metadata(
            old.mode if now.mode == new.mode else now.mode,
            old.uid if now.uid == new.uid else now.uid,
            old.gid if now.gid == new.gid else now.gid,
            old.mtime_ns if now.mtime_ns == new.mtime_ns else now.mtime_ns,
            old.attributes if now.attributes == new.attributes else now.attributes,
        )
        if wanted != now:
            # Nothing else may happen to what was never set: it would look like the host's change.
            set_metadata(fd, name, wanted)

    def _rescue_changed(self, operation: Operation) -> None:
        """Keep what came out of the project if it is not what was put in."""
        found, staged = self._piece(operation), operation.staged
        same = found is not None and self.is_expected(staged, found)
        if same and found is not None and found.is_folder:
            same = self.piece_is_empty(operation.piece)
        if not same:
            self.rescued.append((operation.piece, operation.path))

    def _where(self, path: str) -> tuple[int, str]:
        return self._project.place(path) if path else (self._project.fd, "")

    def _piece(self, operation: Operation) -> Identity | None:
        return _identity(self._pieces_fd, str(operation.piece))

    def _forget(self, moved: Identity | None) -> None:
        if moved is None or moved.is_folder:
            self._project.forget()


def _identity(fd: int, name: str) -> Identity | None:
    try:
        if not name:
            return identity_of(os.fstat(fd))
        return identity_of(os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _alike(one: Metadata, two: Metadata, *, any_time: bool) -> bool:
    """Whether metadata are equal, but for the mtime where `any_time` will do."""
    return one == (replace(two, mtime_ns=one.mtime_ns) if any_time else two)
