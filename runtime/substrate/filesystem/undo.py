"""Undo: what an accept displaced comes back, unless somebody has changed the same since.

The operations of an accept in reverse order, each by its opposite, are a change of their own and
are made the same way: all or nothing. `finish` completes what an accept leaves for afterwards.
"""

from __future__ import annotations

import os

from substrate.errors import ConflictError, SubstrateError
from substrate.filesystem.conflict import CHANGED, MADE, REMOVED
from substrate.filesystem.copying import copy_item, metadata_at, metadata_of
from substrate.filesystem.descriptors import Tree, is_gone
from substrate.filesystem.identity import identity_of
from substrate.filesystem.items import Item
from substrate.filesystem.journal import Record, Store, read_record
from substrate.filesystem.operations import IN, OUT, SET, SWAP, Operation
from substrate.filesystem.pieces import PIECES, link_piece, same_mount
from substrate.filesystem.plan_accept import FolderTime
from substrate.filesystem.project import Project, is_folder
from substrate.filesystem.removal import remove_layers
from substrate.filesystem.transaction import Transaction, are_ours, forget_undone, pieces_of
from substrate.printable import quote
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from substrate.filesystem.identity import Identity
    from substrate.filesystem.known import Known
    from substrate.filesystem.transaction import Progress, Warn

    # Told what is to be done with the layers, and the directory of the accept it is of.
    Settle = Callable[[dict[str, Any], str], None]

_COPYING = "copying"


def finish(store: Store, settle: Settle | None) -> None:
    """Complete what the last accept left for after its commit; nothing happens the second time.

    Displaced originals come from beside the project into the store. `settle` gives the layers
    what the accept in a directory planned for them; None while processes use them.
    """
    for number in store.numbers()[-1:]:
        place = store.place(number)
        record = read_record(place)
        if record is None:
            continue
        if record.pieces:
            _bring_home(record, place)
        if record.settle:
            if settle is None:
                return
            settle(record.settle, place)
            record.settle = {}
            record.write(place)
    store.rest()


def conflicts_of_undo(record: Record, project: Project, known: Known) -> list[tuple[str, str]]:
    """Return (path, reason) for whatever has changed since the accept of this record."""
    opposites = [operation.opposite() for operation in reversed(record.operations)]
    leaving = {operation.path for operation in opposites if operation.kind == OUT}
    found: dict[str, str] = {}
    set_before: set[str] = set()
    for operation in _first_at_each_path(opposites):
        if operation.kind == SET:
            # A directory may be opened first and get its mode at last: only that shows now.
            if operation.path in set_before:
                continue
            set_before.add(operation.path)
        reason = _reason(operation, leaving, project, known)
        if reason:
            found.setdefault(operation.path, reason)
    return sorted(found.items())


def undo(  # noqa: PLR0913, PLR0917 -- the two sides, what decides between them, who is told
    store: Store, number: int, project: Project, known: Known, label: str,
    warn: Warn, progress: Progress, settle: Settle, *, theirs: bool = False,
) -> Record:  # fmt: skip
    """Take the accept of a number back and return its record.

    `settle` gives the layers back what that accept changed in them. `theirs`: what has changed
    since gives way, too. Raises `ConflictError` otherwise, and `SubstrateError` when that accept
    was of another directory.
    """
    done = read_record(store.place(number))
    if done is None:
        message = f"accept {number} left no record"
        raise SubstrateError(message, f"ls {store.place(number)}")
    status = os.fstat(project.fd)
    if (status.st_dev, status.st_ino) != (done.device, done.inode):
        message = f"{project.path} is not the directory that was changed by accept {number}"
        raise SubstrateError(message, f"what it displaced is in {store.place(number)}")
    conflicts = conflicts_of_undo(done, project, known)
    operations = tuple(operation.opposite() for operation in reversed(done.operations))
    if conflicts and not theirs:
        lines = [f"{quote(path)}: {reason}" for path, reason in conflicts[:20]]
        message = "\n".join([*lines, f"accept {number} was not undone: these have changed since"])
        raise ConflictError(message, "--theirs gives them up", conflicts)
    _recognise(operations, project, known)
    if conflicts:
        operations = _over(operations, project)
    entry = Record(done.project, done.device, done.inode)
    entry.given_up = frozenset(path for path, _ in conflicts)
    entry.undoes, entry.made_ns, entry.overruled = number, done.made_ns, done.overruled
    entry.settle = done.unsettle
    _plan_times(entry, done, project, known)
    home = pieces_of(done, store.place(number))
    if same_mount(project.fd, home):
        entry.pieces, entry.borrowed = home, True

    def stage(pieces_fd: int) -> None:
        if not entry.borrowed:
            _stage_copies(home, pieces_fd, entry, operations, project, done.stood_for, warn)
        _fill_in(operations, pieces_fd)

    transaction = Transaction(store, project, known, warn, progress)
    transaction.make(entry, operations, stage, store.undone, label)
    settle(entry.settle, store.place(number))
    forget_undone(store)
    return done


def _reason(operation: Operation, leaving: set[str], project: Project, known: Known) -> str:
    status = project.status(operation.path)
    if operation.kind == IN:
        return MADE if status is not None and operation.path not in leaving else ""
    if status is None:
        # A mode that was set on the way, at a path of before.
        return "" if operation.kind == SET and operation.there is None else REMOVED
    there = operation.there
    if operation.kind == SET and is_folder(status):
        if there is not None and not _is_left(status, there, known):
            return CHANGED
        return _changed_metadata(operation, project)
    if there is None or not _is_left(status, there, known):
        return CHANGED
    inside = is_folder(status) and not operation.moved
    return _left_inside(operation.path, leaving, project) if inside else ""


def _is_left(status: os.stat_result, there: Identity, known: Known) -> bool:
    if is_folder(status) and there.inode == status.st_ino:
        return True
    return known.is_what_was_left(status, there)


def _changed_metadata(operation: Operation, project: Project) -> str:
    fd, name = project.place(operation.path) if operation.path else (project.fd, "")
    now, old = metadata_at(fd, name), operation.old
    same = old is not None and now == replace(old, mtime_ns=now.mtime_ns)
    return "" if same else CHANGED


def _left_inside(path: str, leaving: set[str], project: Project) -> str:
    """Return a reason when something would be left in a directory that goes."""
    names = os.listdir(project.folder(path))
    return CHANGED if any(f"{path}/{name}" not in leaving for name in names) else ""


def _first_at_each_path(operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations that meet what is in the project now: not what a swap brings."""
    swapped: set[str] = set()
    found: list[Operation] = []
    for operation in operations:
        if operation.path not in swapped:
            found.append(operation)
        if operation.kind == SWAP:
            swapped.add(operation.path)
    return found


def _recognise(operations: tuple[Operation, ...], project: Project, known: Known) -> None:
    """Expect the copies that stand for files which an undo has restored from a copy."""
    for operation in _first_at_each_path(operations):
        status = None if operation.there is None else project.status(operation.path)
        if status is None or operation.there is None:
            continue
        if known.is_what_was_left(status, operation.there):
            operation.there = identity_of(status)


def _over(operations: tuple[Operation, ...], project: Project) -> tuple[Operation, ...]:
    """Return operations that take what is there now for what they expect."""
    kept: list[Operation] = []
    first = {id(operation) for operation in _first_at_each_path(operations)}
    for operation in operations:
        if id(operation) not in first:
            kept.append(operation)
            continue
        identity = project.identity(operation.path)
        if operation.kind in {OUT, SWAP} and identity is None:
            if operation.kind == OUT and not operation.moved:
                continue
            other = Operation(IN, operation.path, operation.piece, moved=operation.moved)
            other.staged = operation.staged
            kept.append(other)
            continue
        if operation.kind != IN:
            operation.there = identity
        if operation.kind == SET and identity is not None:
            fd, name = project.place(operation.path) if operation.path else (project.fd, "")
            operation.old = metadata_at(fd, name)
        kept.append(operation)
    return tuple(kept)


def _plan_times(entry: Record, done: Record, project: Project, known: Known) -> None:
    """Give directories their times back that nobody else has changed."""
    before = {time.path: time for time in done.times_before}
    clean: list[tuple[str, str]] = []
    for old, new in done.clean_folders:
        status = project.status(new)
        # One that the accept has removed comes back.
        if old in before and (status is None or known.holds(status)):
            clean.append((new, old))
    entry.clean_folders = tuple(clean)
    entry.times_after = tuple(before[old] for _, old in clean)
    entry.times_before = tuple(_times_now(done.times_after, project))


def _times_now(times: Iterable[FolderTime], project: Project) -> Iterator[FolderTime]:
    """Yield the times that directories have, which somebody may have changed since."""
    for time in times:
        status = project.status(time.path)
        if status is not None:
            yield FolderTime(time.path, status.st_mtime_ns)


def _stage_copies(
    home: str, pieces_fd: int, entry: Record, operations: tuple[Operation, ...],
    project: Project, stood_for: Mapping[int, int], warn: Warn,
) -> None:  # fmt: skip
    """Copy the pieces to the project's mount; names of one file stay names of one file.

    What is there has the time of before, which was another already when the piece was copied if
    the accept set it through another name.
    """
    first: dict[int, str] = {}
    stays = _names_that_stayed(operations, project)
    with Tree(home) as tree:
        for operation in operations:
            if operation.kind not in {IN, SWAP} or operation.moved:
                continue
            name = str(operation.piece)
            status = tree.root.stat(name)
            if status is None:
                message = f"{home}/{name} is gone"
                raise SubstrateError(message, "what was displaced there cannot be restored")
            if status.st_ino in first:
                os.link(first[status.st_ino], name, src_dir_fd=pieces_fd, dst_dir_fd=pieces_fd,
                        follow_symlinks=False)  # fmt: skip
                continue
            first[status.st_ino] = name
            staged = operation.staged
            other = "" if staged is None else stays.get(staged.inode, "")
            if other and link_piece(project, other, pieces_fd, name):
                continue
            item = Item(tree.root, name, status)
            metadata = metadata_of(item)
            if staged is not None and not staged.is_folder:
                metadata = replace(metadata, mtime_ns=staged.mtime_ns)
            for what in copy_item(item, pieces_fd, name, metadata):
                warn(f"{quote(operation.path)}: the {what} could not be kept")
            if staged is not None:
                copy = os.stat(name, dir_fd=pieces_fd, follow_symlinks=False)
                entry.copies[copy.st_ino] = stood_for.get(staged.inode, staged.inode)


def _names_that_stayed(operations: tuple[Operation, ...], project: Project) -> dict[int, str]:
    """Return the inodes and paths of files that the accept has kept, but for their times."""
    found: dict[int, str] = {}
    for operation in operations:
        if operation.kind == SET or operation.moved:
            status = project.status(operation.path)
            if status is not None and not is_folder(status):
                found.setdefault(status.st_ino, operation.path)
    return found


def _fill_in(operations: tuple[Operation, ...], pieces_fd: int) -> None:
    """Tell the operations what they will find in their pieces, and at paths a swap was at before.

    What was displaced by a swap may be a copy by now, and may move on from there.
    """
    swapped: dict[str, Identity | None] = {}
    moved: dict[int, Identity | None] = {}
    for operation in operations:
        if operation.path in swapped and operation.kind != SWAP:
            operation.there = swapped[operation.path]
        if operation.moved and operation.kind == OUT:
            moved[operation.piece] = operation.there
        elif operation.moved:
            operation.staged = moved.get(operation.piece, operation.staged)
        elif operation.kind in {IN, SWAP}:
            name = str(operation.piece)
            status = os.stat(name, dir_fd=pieces_fd, follow_symlinks=False)
            operation.staged = identity_of(status)
            if operation.kind == SWAP:
                swapped[operation.path] = operation.staged


def _bring_home(record: Record, place: str) -> None:
    """Copy displaced originals from the project's file system into the store."""
    home = os.path.join(place, PIECES)
    copying = os.path.join(place, _COPYING)
    remove_layers(copying)
    if not os.path.isdir(home):
        os.mkdir(copying, 0o700)
        _copy_all(record.pieces, copying)
        os.rename(copying, home)
    # Noted when it is gone: who is killed between is followed by somebody who looks for it.
    if are_ours(record, record.pieces):
        remove_layers(record.pieces)
    record.pieces = ""
    record.write(place)


def _copy_all(source: str, target: str) -> None:
    first: dict[int, str] = {}
    target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Tree(source) as tree:
            for name, status in tree.root.entries():
                if status.st_ino in first:
                    os.link(first[status.st_ino], name, src_dir_fd=target_fd,
                            dst_dir_fd=target_fd, follow_symlinks=False)  # fmt: skip
                    continue
                first[status.st_ino] = name
                item = Item(tree.root, name, status)
                copy_item(item, target_fd, name, metadata_of(item))
        os.fsync(target_fd)
    except OSError as error:
        if is_gone(error):
            raise SubstrateError(f"{source} is gone", f"ls {target}") from error
        raise
    finally:
        os.close(target_fd)
