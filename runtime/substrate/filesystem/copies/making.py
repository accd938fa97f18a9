"""Makes a copy of a project, or makes an older one equal to it again, with its table.

Nobody may be using the copy. The caller keeps whoever might begin to.
"""

from __future__ import annotations

import errno
import os

from substrate.errors import SubstrateError, UnsupportedError
from substrate.filesystem.copies.copier import Copying, Manner, is_closed
from substrate.filesystem.copies.derived import derive
from substrate.filesystem.copies.folders import Aside, read_back
from substrate.filesystem.copies.intents import Intents, forget_intents, is_within, read_intents
from substrate.filesystem.copies.table import TABLE, Table, seen
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.layers import COPY
from substrate.kernel.files import sync_filesystem
from substrate.printable import quote
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.copies.derived import Derived
    from substrate.filesystem.copies.discard import Place
    from substrate.filesystem.copies.table import Row


def make_copy(project: str, directory: str, manner: Manner) -> None:
    """Make `directory`/copy and its table, of `project`, for a new world.

    Raises `UnsupportedError` for what cannot be copied, `SubstrateError` where there is no space.
    """
    os.mkdir(os.path.join(directory, COPY), 0o700)
    _make(project, directory, Table({}, manner.shift), manner, None)


def refresh_copy(project: str, directory: str, old: Table, manner: Manner) -> None:
    """Make a copy equal to the project again, with a new table; what is equal already stays.

    An interrupted call is completed by another. Raises as `make_copy` does.
    """
    _make(project, directory, old, manner, Intents(directory))


def update_copy(project: str, directory: str, old: Table, manner: Manner) -> None:
    """Bring what the host has changed into a copy, wherever the world has changed nothing.

    As an overlay shows it through. What the world has changed stays, and what it has moved stays
    as it is, with all that is in it; so do directories that it has closed to an ordinary user who
    calls. An interrupted call is completed by another. Raises as `make_copy` does.
    """
    unfinished = read_intents(directory)
    changed = _changed(project, directory, old)
    if changed.has_root() and is_closed(changed.raw[""]):
        return
    with _opened(project, directory) as (source, target, aside), _told(project, directory):
        copying = Copying(source, target, aside, old, manner, Intents(directory), changed)
        copying.own |= {""} if changed.has_root() else set()
        found = copying.whole()
        kept = _unlink(copying, changed, copying.left)
        if copying.is_idle and not any(unfinished):
            return
        gone = set(changed.unlinked.values()) - kept
        rows = {
            path: row
            for path, row in old.rows.items()
            if path in copying.own or (is_within(path, copying.left) and path not in gone)
        }
        aside.remove()
        rows = _settled(rows, directory, target, changed.in_place)
        rows |= read_back(target, found, "", "")
        _finish(directory, target, Table(rows, manner.shift))


def restore(
    project: str, directory: str, old: Table, places: Iterable[Place], manner: Manner
) -> None:
    """Make some places of a copy what the project has there now.

    An interrupted call is completed by another. Raises as `make_copy` does.
    """
    changed = _changed(project, directory, old)
    with _opened(project, directory) as (source, target, aside):
        making = Copying(source, target, aside, old, manner, Intents(directory))
        making.in_place = changed.in_place
        with _told(project, directory):
            # Another name may be among the places, and what they had be told as new under these.
            left = _unlink(making, changed)
            new: dict[str, Row] = {}
            replaced: set[str] = set()
            for path, origin, only_metadata in places:
                if only_metadata:
                    found = making.metadata(path, origin)
                    new |= read_back(target, found, path, origin, inside=False)
                else:
                    found = making.one(path, origin)
                    new |= read_back(target, found, path, origin)
                    replaced.add(origin)
            replaced |= set(changed.unlinked.values()) - left
            kept = {path: row for path, row in old.rows.items() if not is_within(path, replaced)}
            aside.remove()
            kept = _settled(kept, directory, target, changed.in_place)
            _finish(directory, target, Table(kept | new, manner.shift))


def _changed(project: str, directory: str, old: Table) -> Derived:
    with Tree(os.path.join(directory, COPY)) as plain, Tree(project) as source:
        return derive(plain, old, read_intents(directory), source)


def _unlink(copying: Copying, changed: Derived, places: set[str] | None = None) -> set[str]:
    """Take names out that the host has removed: all, or those in some places.

    Returns the paths before of those that had to stay.
    """
    return {
        before
        for path, before in changed.unlinked.items()
        if (places is None or is_within(path, places)) and not copying.unlink(path)
    }


def _settled(
    rows: dict[str, Row], directory: str, target: Tree, in_place: dict[str, str]
) -> dict[str, Row]:
    """Return rows that stay, as the files are by now of which other names were taken out."""
    noted, _ = read_intents(directory)
    for path in rows.keys() & in_place.keys():
        if is_within(in_place[path], noted):
            found = target.find(in_place[path])
            if found is not None and found[2].st_ino == rows[path].inode:
                rows[path] = replace(rows[path], copied=seen(found[2]))
    return rows


def _make(
    project: str, directory: str, old: Table, manner: Manner, intents: Intents | None
) -> None:
    with _opened(project, directory) as (source, target, aside), _told(project, directory):
        found = Copying(source, target, aside, old, manner, intents).whole()
        aside.remove()
        rows = read_back(target, found, "", "")
        _finish(directory, target, Table(rows, manner.shift))


def _finish(directory: str, target: Tree, table: Table) -> None:
    # A table that outlives its files in a power failure would call them changed by the world.
    sync_filesystem(target.root_fd)
    _wait_for_next_stamp(directory)
    table.write(os.path.join(directory, TABLE))
    forget_intents(directory)


class _opened:  # noqa: N801 -- used like the functions of contextlib, which would have to be loaded
    def __init__(self, project: str, directory: str) -> None:
        self._paths = (project, directory)
        self._trees: list[Tree] = []

    def __enter__(self) -> tuple[Tree, Tree, Aside]:
        project, directory = self._paths
        try:
            for path in (project, os.path.join(directory, COPY)):
                self._trees.append(Tree(path))
            self._aside = Aside(directory)
        except BaseException:
            for tree in self._trees:
                tree.close()
            raise
        return self._trees[0], self._trees[1], self._aside

    def __exit__(self, *_details: object) -> None:
        for tree in self._trees:
            tree.close()
        self._aside.remove()


class _told:  # noqa: N801 -- as above
    """Names the copying in the errors of the kernel."""

    def __init__(self, project: str, directory: str) -> None:
        self._project = project
        self._directory = directory

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError):
            return
        where = os.fsdecode(error.filename) if error.filename else self._project
        message = f"copying {quote(where)}: {(error.strerror or '').lower()}"
        hint = f"findmnt --target {self._directory}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = f"make room: df {self._directory}; or leave parts out by project.deny"
        raise SubstrateError(message, hint) from error


def _wait_for_next_stamp(directory: str) -> None:
    """Wait until a file changed now gets a later time than all that was looked at."""
    from time import monotonic, sleep

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        first, deadline = _stamp(fd), monotonic() + 5
        while _stamp(fd) <= first:
            if monotonic() > deadline:
                message = f"the clock of the file system of {directory} stands still"
                raise UnsupportedError(message, "set SUBSTRATE_HOME to another file system")
            sleep(0.001)
    finally:
        os.close(fd)


def _stamp(fd: int) -> int:
    os.utime(fd)
    return os.fstat(fd).st_ctime_ns
