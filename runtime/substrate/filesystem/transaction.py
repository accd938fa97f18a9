"""One change to a project, all of it or nothing, whatever happens on the way.

begin     the directory of the change, then the pieces
stage     everything new as pieces, on the project's mount, written out to disk
record    which operations there will be, written out to disk
apply     the operations; on any failure, and on Ctrl-C, they are taken back
commit    one rename; from here on the change is complete and can be undone
"""

from __future__ import annotations

import os
from contextlib import suppress

from substrate.errors import ConflictError, SubstrateError
from substrate.filesystem.apply import Hands, Interference
from substrate.filesystem.conflict import CHANGED
from substrate.filesystem.identity import identity_of
from substrate.filesystem.journal import Record, Store, read_record
from substrate.filesystem.operations import IN, OUT, SET, SWAP, Operation
from substrate.filesystem.pieces import PIECES, choose_place, open_pieces, remove_pieces
from substrate.filesystem.project import Project, is_folder
from substrate.filesystem.removal import remove_layers
from substrate.filesystem.renames import after_renames
from substrate.kernel.files import sync_filesystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.known import Known

    # Makes the pieces in an open directory and fills in what the operations will find in them.
    Staging = Callable[[int], None]
    # Told (done, of how many).
    Progress = Callable[[int, int], None]
    Warn = Callable[[str], None]

# Looked at now and then, not at every one of 100,000 operations.
_PROGRESS_EVERY = 256


class Transaction:
    """A change to a project that is being made."""

    def __init__(
        self, store: Store, project: Project, known: Known, warn: Warn, progress: Progress
    ) -> None:
        self._store = store
        self._project = project
        self._known = known
        self._warn = warn
        self._progress = progress

    def make(self, record: Record, operations: tuple[Operation, ...], stage: Staging, to: str,
             label: str) -> None:  # fmt: skip
        """Make the change `record` describes; complete it under the name `to`.

        Raises `ConflictError` when somebody changes the same meanwhile; then, and after any other
        exception, the project is what it was.
        """
        store = self._store
        if not record.pieces:
            place = choose_place(self._project, store.path, label)
            record.pieces = "" if place == os.path.join(store.path, PIECES) else place
        pieces = pieces_of(record, store.pending)
        store.begin()
        try:
            record.write(store.pending)
            if not record.borrowed:
                _make_pieces(pieces)
            record.pieces_inode = os.lstat(pieces).st_ino
            record.write(store.pending)
            pieces_fd = open_pieces(pieces)
            try:
                stage(pieces_fd)
                record.operations = operations
                sync_filesystem(pieces_fd)
                record.write(store.pending)
                self._apply(record, pieces_fd)
                sync_filesystem(self._project.fd)
                sync_filesystem(pieces_fd)
            finally:
                os.close(pieces_fd)
            record.write(store.pending)
            self._known.write()
            store.commit(to)
        except Interference as interference:
            self._take_back(record)
            raise _conflict(interference) from None
        except BaseException:
            self._take_back(record)
            raise

    def _apply(self, record: Record, pieces_fd: int) -> None:
        hands = Hands(self._project, pieces_fd, record.operations)
        count = len(record.operations)
        for number, operation in enumerate(record.operations):
            if number % _PROGRESS_EVERY == 0:
                self._progress(number, count)
            hands.run(operation)
        _check_displaced(record, pieces_fd, hands)
        hands.set_times(record.times_after)
        self._note_results(record, pieces_fd)
        for _, path in record.clean_folders:
            identity = self._project.identity(path)
            if identity is not None:
                self._known.add(identity)
        for path, what in hands.lost:
            self._warn(f"{path}: the {what} could not be kept")

    def _note_results(self, record: Record, pieces_fd: int) -> None:
        """Keep what each operation has left; where two were at one path, the swap came last.

        What was left in a directory has moved along with it since.
        """
        swapped: dict[str, int] = {}
        targets = {one.piece: one.path for one in record.operations if one.moved and one.kind == IN}
        renames: dict[str, str] = {}
        for operation in reversed(record.operations):
            path, piece = operation.path, swapped.get(operation.path)
            if (
                operation.kind in {OUT, SWAP}
                and not operation.moved
                and (record.undoes or path not in record.overruled)
            ):
                self._know(_piece_status(pieces_fd, operation.piece))
            if operation.kind == OUT:
                if operation.piece in targets:
                    renames[path] = targets[operation.piece]
                continue
            if piece is None:
                status = self._project.status(after_renames(path, renames))
            else:
                status = _piece_status(pieces_fd, piece)
            if status is not None:
                operation.after = identity_of(status)
                if not record.undoes or path not in record.overruled:
                    new = operation.kind != SET and not operation.moved
                    self._know(status, record.copies.get(status.st_ino, 0), new=new)
            if operation.kind == SWAP:
                swapped[path] = operation.piece

    def _know(self, status: os.stat_result, stands_for: int = 0, *, new: bool = False) -> None:
        linked = status.st_nlink > 1 and not is_folder(status)
        self._known.add(identity_of(status), stands_for, linked=linked, new=new)

    def _take_back(self, record: Record) -> None:
        take_back(self._store, record, self._project, self._known, self._warn)


def _piece_status(pieces_fd: int, piece: int) -> os.stat_result:
    return os.stat(str(piece), dir_fd=pieces_fd, follow_symlinks=False)


def _check_displaced(record: Record, pieces_fd: int, hands: Hands) -> None:
    """Look once more for writes to what was displaced, through descriptors still open."""
    for operation in record.operations:
        there = operation.there
        if operation.kind not in {OUT, SWAP} or operation.moved or there is None:
            continue
        status = _piece_status(pieces_fd, operation.piece)
        if not hands.is_expected(there, identity_of(status)):
            raise Interference(operation.path, CHANGED)


def pieces_of(record: Record, directory: str) -> str:
    """Return where the pieces of a change in `directory` are."""
    return record.pieces or os.path.join(directory, PIECES)


def are_ours(record: Record, pieces: str) -> bool:
    """Whether the directory of pieces is there, and the one that the change has made."""
    try:
        status = os.lstat(pieces)
    except FileNotFoundError:
        return False
    if record.pieces_inode:
        return status.st_ino == record.pieces_inode
    # Killed before it was noted as ours: then it is empty, or somebody else's.
    with suppress(OSError):
        os.rmdir(pieces)
    return False


def recover(store: Store, warn: Warn) -> Record | None:
    """Take back a change that was interrupted, if there is one, and return its record.

    The caller holds the world's lock. Raises `SubstrateError` when the project is not there.
    """
    if os.path.lexists(store.undone):
        forget_undone(store)
    if not os.path.lexists(store.pending):
        return None
    from substrate.filesystem.known import Known

    record = read_record(store.pending)
    if record is None:
        remove_layers(store.pending)
        store.rest()
        return None
    with Project(record.project) as project:
        status = os.fstat(project.fd)
        if (status.st_dev, status.st_ino) != (record.device, record.inode):
            message = f"taking back an interrupted change: {record.project} is another directory"
            raise SubstrateError(message, f"what was displaced is in {store.pending}")
        project.lock()
        take_back(store, record, project, Known(store.path), warn)
    warn(f"an interrupted change to {record.project} was taken back")
    return record


def take_back(store: Store, record: Record, project: Project, known: Known, warn: Warn) -> None:
    """Undo whatever has been done of a pending change, and forget it."""
    if not os.path.lexists(store.pending):
        # It was completed a moment before.
        return
    pieces = pieces_of(record, store.pending)
    rescued: list[tuple[int, str]] = []
    project.forget()
    has_pieces = are_ours(record, pieces)
    if has_pieces:
        pieces_fd = open_pieces(pieces)
        try:
            hands = Hands(project, pieces_fd, record.operations)
            for operation in reversed(record.operations):
                hands.take_back(operation)
            hands.set_times(record.times_before)
            rescued = hands.rescued
            sync_filesystem(pieces_fd)
            sync_filesystem(project.fd)
        finally:
            os.close(pieces_fd)
    _know_restored(record, project, known)
    for path, _ in record.clean_folders:
        identity = project.identity(path)
        if identity is not None:
            known.add(identity)
    known.write()
    kept = ""
    if not record.borrowed and has_pieces:
        kept = remove_pieces(pieces, {number for number, _ in rescued})
        kept = _out_of_pending(store, kept)
    remove_layers(store.pending)
    store.rest()
    for number, path in rescued:
        warn(f"{path} was changed meanwhile; that version is {kept}/{number}")


def forget_undone(store: Store) -> None:
    """Remove what is left of a change that has been undone, after the commit of the undo."""
    record = read_record(store.undone)
    if record is not None and record.undoes:
        undone = read_record(store.place(record.undoes))
        if undone is not None and undone.pieces:
            remove_layers(undone.pieces)
        if record.pieces and not record.borrowed:
            remove_layers(record.pieces)
        remove_layers(store.place(record.undoes))
    remove_layers(store.undone)
    store.rest()


def _out_of_pending(store: Store, kept: str) -> str:
    """Move rescued pieces out of the directory that is about to be removed."""
    if not kept.startswith(store.pending + "/"):
        return kept
    place = os.path.join(store.path, f"rescued-{os.lstat(kept).st_ino}")
    os.rename(kept, place)
    return place


def _know_restored(record: Record, project: Project, known: Known) -> None:
    """Keep that what is in its old place again was put there by us and not by the host."""
    operations = record.operations
    theirs = record.given_up if record.undoes else record.overruled
    origins = {one.piece: one.path for one in operations if one.moved and one.kind == OUT}
    renames = {one.path: origins[one.piece] for one in operations if one.moved and one.kind == IN}
    for operation in operations:
        there, path = operation.there, operation.path
        if there is None or path in theirs:
            continue
        now = project.identity(after_renames(path, renames) if operation.kind != OUT else path)
        if now is not None and there.same_content(now) and there.mode == now.mode:
            known.add(now)


def _make_pieces(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        message = f"{path} is in the way"
        raise SubstrateError(message, f"look what it is, then: rm -r {path}") from None


def _conflict(interference: Interference) -> ConflictError:
    message = f"{interference.path}: {interference.reason} while it was being accepted"
    hint = "nothing was changed; look at the diff again"
    return ConflictError(message, hint, [(interference.path, interference.reason)])
