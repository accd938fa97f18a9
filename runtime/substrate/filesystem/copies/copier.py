"""From a project into a copy, directory by directory, without following a link.

People and programs change the project meanwhile. A file counts as copied when it was the same
before and after; what changed later, or in the tick of the clock in which the copying began, is on
record as not known, and so never taken for what the world has seen.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from substrate.errors import SubstrateError
from substrate.filesystem.baseline import stamp_ns
from substrate.filesystem.copies.derived import holds
from substrate.filesystem.copies.onefile import check_lost, copy_steadily, fit, refuse
from substrate.filesystem.copies.table import seen
from substrate.filesystem.copying import metadata_at, set_metadata, set_mode
from substrate.filesystem.descriptors import is_gone
from substrate.filesystem.items import is_whiteout_device
from substrate.filesystem.layers import OVERLAY_PREFIXES
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from substrate.filesystem.copies.derived import Derived
    from substrate.filesystem.copies.folders import Aside, Found, Read
    from substrate.filesystem.copies.intents import Intents
    from substrate.filesystem.copies.owners import Shift
    from substrate.filesystem.copies.table import Table
    from substrate.filesystem.copying import Metadata
    from substrate.filesystem.descriptors import Folder, Tree

_TELL_EVERY = 64
_OWNER_ALL = 0o700


@record
class Manner:
    """How a copy is made: owners shifted, without what `is_denied`, of at most so many bytes.

    `tell` is called with the number of entries done, and -1 because nobody has counted them.
    """

    shift: Shift
    is_denied: Callable[[str], bool]
    most_bytes: int | None = None
    tell: Callable[[int, int], None] | None = None


class Copying:
    """The making of one copy: what was made from what is in the results of its methods.

    `left` are places of the world's changes, which stay with all that is in them, and `own` those
    of directories that stay themselves. `is_idle`: nothing had to be done.
    """

    def __init__(
        self, source: Tree, target: Tree, aside: Aside, old: Table, manner: Manner,
        intents: Intents | None, changed: Derived | None = None,
    ) -> None:  # fmt: skip
        """Take the open trees of project and copy, and what the copy was made from before.

        `intents` get to know of everything first, None for a copy that nobody has seen. `changed`
        is what the world has changed in it, when that shall stay.
        """
        self.left: set[str] = set()
        self.own: set[str] = set()
        self.is_idle = True
        # As `Derived` has it, where that was told.
        self.in_place: dict[str, str] = {} if changed is None else changed.in_place
        self._changed = changed
        self._intents = intents
        self._source = source
        self._target = target
        self._aside = aside
        self._old = old
        self._manner = manner
        # Path in the copy -> what the project's file is known to have been.
        self._found: Found = {}
        self._folders: dict[str, tuple[Folder, Metadata]] = {}
        # What the project has, None for what it has no more, and what the copy has.
        self._waiting: list[tuple[Folder | None, Folder]] = []
        # File of the project -> one name of its copy, and as what it was copied.
        self._links: dict[tuple[int, int], tuple[Folder, str, Read]] = {}
        self._began_ns = stamp_ns()
        self._bytes = 0
        self._done = 0

    def whole(self) -> Found:
        """Make the whole copy."""
        self._waiting.append((self._source.root, self._target.root))
        return self._run()

    def one(self, path: str, origin: str) -> Found:
        """Make one place of the copy what is at `origin`."""
        place, name = self._place(path)
        # It keeps what is its own.
        self.own.add(place.path)
        self._take_out(place, name)
        found = self._source.find(origin)
        if found is not None:
            folder, last, status = found
            self._entry(folder, last, status, place, name, None)
        return self._run()

    def metadata(self, path: str, origin: str) -> Found:
        """Give a directory of the copy the metadata of the one at `origin`, if it is there."""
        source, target = self._source.root, self._target.root
        for name in filter(None, origin.split("/")):
            source = source.child(name)
        for name in filter(None, path.split("/")):
            target = target.child(name)
        try:
            self._note(path, source.status())
            metadata = fit(metadata_at(source.fd(), ""), self._manner.shift)
            # The directory's times are those of what was done in it.
            metadata = replace(metadata, mtime_ns=target.status().st_mtime_ns)
            _finish(target, metadata)
        except OSError as error:
            if not is_gone(error):
                raise
        found, self._found = self._found, {}
        return found

    def unlink(self, path: str) -> bool:
        """Take one name of a file out of the copy, in which another one has what it holds.

        False where its directory is closed.
        """
        folder, name = self._place(path)
        if is_closed(folder.status()):
            return False
        self._take_out(folder, name)
        return True

    def _place(self, path: str) -> tuple[Folder, str]:
        *parents, name = path.split("/")
        place = self._target.root
        for parent in parents:
            place = place.child(parent)
        return place, name

    def _run(self) -> Found:
        while self._waiting:
            source, target = self._waiting.pop()
            path = target.path
            try:
                if source is None:
                    self._shed(target)
                else:
                    self._visit(source, target)
            except PermissionError as error:
                refuse(path if source is None else source.path, error.strerror or "")
            except OSError as error:
                if not is_gone(error) or not path:
                    raise
                # Removed, or exchanged, since its directory was listed.
                if path in self.own:
                    # What the world changed in it stays, as where the listing had lacked it.
                    self.own.discard(path)
                    self.left.add(path)
                    continue
                self._take_out(target.parent or target, path.rpartition("/")[2])
                inside = path + "/"
                for gone in [one for one in self._folders if f"{one}/".startswith(inside)]:
                    del self._folders[gone]
        # The inner ones first: an outer one may then let nobody in.
        for path in sorted(self._folders, key=lambda path: path.count("/"), reverse=True):
            _finish(*self._folders[path])
        found, self._found, self._folders = self._found, {}, {}
        return found

    def _visit(self, source: Folder, target: Folder) -> None:
        """Take over a directory whose copy is there."""
        path, status = target.path, source.status()
        entries = source.entries()
        self._take_in(source, target, path, status)
        present = dict(target.entries())
        listed = {} if self._changed is None else self._changed.entries.get(path, {})
        found = dict(entries)
        for name in present.keys() - found.keys() - listed.keys():
            self._take_out(target, name, source)
        for name, one in entries:
            if name not in listed:
                self._entry(source, name, one, target, name, present.get(name))
        for name in listed:
            self._leave(source, target, name, found.get(name))

    def _take_in(self, source: Folder, target: Folder, path: str, status: os.stat_result) -> None:
        """Note what a directory is, and that it needs its metadata if it is not as it was."""
        if path in self.own:
            return
        self._note(path, status)
        row, made = self._old.rows.get(path), target.status()
        if row is None or not row.is_found(status) or not row.is_copy(made):
            self._will_finish(source, target)
        if made.st_mode & _OWNER_ALL != _OWNER_ALL:
            self._will_finish(source, target)
            set_mode(target.fd(), "", _OWNER_ALL)

    def _leave(
        self, source: Folder | None, target: Folder, name: str, found: os.stat_result | None
    ) -> None:
        """Let a change of the world's be, but for what the host has in a directory of both."""
        path = target.path_of(name)
        if not self._is_in_place(path) or (
            source is not None and self._manner.is_denied(source.path_of(name))
        ):
            self.left.add(path)
            return
        self.own.add(path)
        there = None
        if source is not None and found is not None and stat.S_ISDIR(found.st_mode):
            there = source.child(name)
        self._waiting.append((there, target.child(name)))

    def _is_in_place(self, path: str) -> bool:
        """Whether a directory is where it was, whatever the world has changed in it, and open."""
        assert self._changed is not None  # noqa: S101 -- the caller has looked
        here, row = self._changed.raw.get(path), self._old.rows.get(path)
        if here is None or row is None or not row.is_folder:
            return False
        return row.inode == here.st_ino and not is_closed(here)

    def _shed(self, target: Folder) -> None:
        """Leave of a directory that the host has removed what the world has changed in it."""
        assert self._changed is not None  # noqa: S101 -- without changes nothing is left
        listed = self._changed.entries.get(target.path, {})
        for name, _ in target.entries():
            if name not in listed:
                self._take_out(target, name)
        for name in listed:
            self._leave(None, target, name, None)

    def _will_finish(self, source: Folder, target: Folder) -> None:
        self.is_idle = False
        path = target.path
        if path not in self._folders and path not in self.own:
            self._intend(path, itself=True)
            metadata = fit(metadata_at(source.fd(), ""), self._manner.shift)
            self._folders[path] = (target, metadata)

    def _take_out(self, folder: Folder, name: str, source: Folder | None = None) -> None:
        """Take a name out of a directory of the copy, which may be that of `source`."""
        if source is not None:
            self._will_finish(source, folder)
        self.is_idle = False
        path = folder.path_of(name)
        self._intend(path)
        if self._intents is not None:
            for other in self._names_of_unchanged(path):
                self._intend(other)
        self._aside.put(folder, name)

    def _names_of_unchanged(self, path: str) -> Iterator[str]:
        """Yield other names of what is to be taken out, where the world has changed nothing.

        That one goes shows in the inode, and would pass for a change of the world's under them.
        """
        old = self._old
        row, inside = old.rows.get(path), [path]
        if row is not None and row.is_folder:
            inside = old.below(path)
        for one in inside:
            row = old.rows.get(one)
            if row is None or row.is_folder:
                continue
            for other in old.paths_of(row.inode, row.birth_ns):
                where = self.in_place.get(other, other)
                found = self._target.find(where) if other != one else None
                if found is not None and row.is_copy(found[2]) and holds(*found, row):
                    yield where

    def _entry(
        self, source: Folder, name: str, status: os.stat_result, target: Folder, to: str,
        present: os.stat_result | None,
    ) -> None:  # fmt: skip
        self._count(status)
        path = target.path_of(to)
        # An overlay shows none of these.
        is_shown = not is_whiteout_device(status)
        is_denied = self._manner.is_denied(source.path_of(name))
        if present is not None and self._stays(path, status, present, is_denied, is_shown):
            if is_denied:
                self._found[path] = ()
            elif stat.S_ISDIR(status.st_mode):
                self._waiting.append((source.child(name), target.child(to)))
            else:
                self._keep(target, to, status)
            return
        if present is not None:
            self._take_out(target, to)
        if not is_shown:
            return
        self.is_idle = False
        self._intend(path)
        if target.path == source.path:
            self._will_finish(source, target)
        if is_denied:
            self._cover(target, to, status)
        elif stat.S_ISDIR(status.st_mode):
            os.mkdir(to, 0o700, dir_fd=target.fd())
            self._waiting.append((source.child(name), target.child(to)))
        else:
            self._copy(source, name, status, target, to)

    def _stays(
        self, path: str, status: os.stat_result, present: os.stat_result, is_denied: bool,
        is_shown: bool,
    ) -> bool:  # fmt: skip
        """Whether what is in the copy is what is to be there, but for what is in a directory."""
        if not is_shown:
            return False
        if is_denied or stat.S_ISDIR(status.st_mode):
            # What is denied is never exchanged while its kind is right: a mask is mounted on it.
            return stat.S_ISDIR(present.st_mode) == stat.S_ISDIR(status.st_mode)
        return self._is_equal(path, status, present)

    def _is_equal(self, path: str, status: os.stat_result, present: os.stat_result) -> bool:
        """Whether neither side has changed a file since it was copied."""
        row = self._old.rows.get(path)
        if row is None or row.digest:
            return False  # nobody uses it any more: a new copy needs no second look ever after
        # The time by itself: what the world has only touched is accepted without it.
        same_time = present.st_mtime_ns == status.st_mtime_ns
        return same_time and row.is_copy(present) and row.is_found(status)

    def _keep(self, target: Folder, name: str, status: os.stat_result) -> None:
        found = self._note(target.path_of(name), status)
        self._links.setdefault((status.st_dev, status.st_ino), (target, name, found))

    def _copy(
        self, source: Folder, name: str, status: os.stat_result, target: Folder, to: str
    ) -> None:
        """Copy a file, unless it is one more name of one that was copied."""
        if self._link(status, target, to):
            return
        copied = copy_steadily(source, name, status, target, to, self._manner.shift)
        if copied is None:
            return
        if stat.S_ISDIR(copied.st_mode):
            self._waiting.append((source.child(name), target.child(to)))
            return
        found = self._note(target.path_of(to), copied)
        if copied.st_nlink > 1:
            self._links[copied.st_dev, copied.st_ino] = (target, to, found)

    def _link(self, status: os.stat_result, target: Folder, to: str) -> bool:
        """Make a further name of a file that was copied under another one."""
        known = self._links.get((status.st_dev, status.st_ino))
        if known is None or status.st_nlink < 2:
            return False
        folder, name, found = known
        os.link(name, to, src_dir_fd=folder.fd(), dst_dir_fd=target.fd(), follow_symlinks=False)
        # Changed since its first name was copied: then nobody knows what the world has of it.
        same = bool(found) and found == seen(status)
        self._found[target.path_of(to)] = found if same else ()
        if not same:
            self._found[folder.path_of(name)] = ()
        return True

    def _cover(self, target: Folder, name: str, status: os.stat_result) -> None:
        """Put something empty where a denied path is: it is masked, as it would be over a layer."""
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o555, dir_fd=target.fd())
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o444, dir_fd=target.fd()))
        # Whoever masks it must be able to look at it. An ordinary user's is that user's.
        with suppress(PermissionError):
            owner = self._manner.shift.into(status.st_uid, status.st_gid)
            os.chown(name, *owner, dir_fd=target.fd(), follow_symlinks=False)
        self._found[target.path_of(name)] = ()

    def _intend(self, path: str, *, itself: bool = False) -> None:
        if self._intents is not None:
            self._intents.note(path, itself=itself)

    def _note(self, path: str, status: os.stat_result) -> Read:
        """Keep what the project's file was, unless it may have changed within the same tick."""
        known = status.st_ctime_ns < self._began_ns
        found = self._found[path] = seen(status) if known else ()
        return found

    def _count(self, status: os.stat_result) -> None:
        self._done += 1
        if self._manner.tell is not None and self._done % _TELL_EVERY == 0:
            self._manner.tell(self._done, -1)
        most = self._manner.most_bytes
        if most is None:
            return
        # Root may exceed a quota, so nobody else keeps it while root copies.
        self._bytes += status.st_blocks * 512
        if self._bytes > most:
            message = f"copying {self._source.path}: it takes more than the limit disk, {most}"
            raise SubstrateError(message, "raise limits.disk, or leave parts out by project.deny")


def is_closed(status: os.stat_result) -> bool:
    """Whether an ordinary user cannot change what is in a directory, for the mode it has.

    To open it for a moment would be a change of the world's if the call is killed then.
    """
    return status.st_mode & _OWNER_ALL != _OWNER_ALL and os.geteuid() != 0


def _finish(folder: Folder, metadata: Metadata) -> None:
    """Give a directory its metadata, and take from it what looks like an overlay's own."""
    fd = folder.fd()
    check_lost(folder.path, set_metadata(fd, "", metadata))
    with suppress(OSError):
        for key in os.listxattr(fd):
            if key.startswith(OVERLAY_PREFIXES):
                os.removexattr(fd, key)
