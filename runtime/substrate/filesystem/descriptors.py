"""Directories reached step by step from a root descriptor, never through a symbolic link.

A world may be running while its layer is read, and its payload may exchange any directory for a
symbolic link at any moment. So every step is an openat(2) of one name with O_NOFOLLOW, and a
directory that has to be opened again must still be the one that was opened before.

At most about `KEPT` descriptors are open per tree, however deep it is: the oldest is closed first
and opened again from the root when it is needed. A descriptor from `Folder.fd()` is borrowed; it
stays valid while at most two other folders of the same tree are asked for theirs.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from substrate.filesystem.lookahead import Seen

KEPT = 64
# How many levels above a reopened directory are kept: the walk goes back up through them next.
KEPT_ABOVE = 16
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


def is_gone(error: OSError) -> bool:
    """Whether the error says that the thing is not there, or is no longer what it was."""
    return error.errno in _GONE


class Folder:
    """One directory of a tree, opened when its descriptor is asked for."""

    __slots__ = (
        *("_device", "_inode", "_listing", "_statuses"),
        *("name", "open_fd", "parent", "path", "tree"),
    )

    def __init__(self, tree: Tree, parent: Folder | None, name: str) -> None:
        self.tree = tree
        self.path: str = f"{parent.path}/{name}" if parent is not None and parent.path else name
        self.parent = parent
        self.name = name
        self.open_fd = -1
        self._device = self._inode = -1
        # What was read before anybody asked: good for one answer.
        self._listing: list[tuple[str, os.stat_result | None]] | None = None
        self._statuses: dict[str, os.stat_result | None] | None = None

    def child(self, name: str) -> Folder:
        """Return the folder called `name` in this one; whether it is there shows later."""
        return Folder(self.tree, self, name)

    def path_of(self, name: str) -> str:
        """Return the path of an entry of this folder, relative to the tree's root."""
        return f"{self.path}/{name}" if self.path else name

    def fd(self) -> int:
        """Return the folder's descriptor, borrowed (see the module).

        Raises `FileNotFoundError` when it has been moved, removed or replaced, and
        `UnsupportedError` when another file system is mounted there.
        """
        return self.open_fd if self.open_fd >= 0 else self._reopen()

    @property
    def is_known(self) -> bool:
        """Whether it is known to be there and to be a directory that can be opened."""
        return self._inode >= 0

    def enter(self, name: str) -> tuple[Folder, os.stat_result] | None:
        """Return the directory of that name, opened, with its status; None when nothing has it.

        Raises `NotADirectoryError` for anything but a directory, and what `fd` raises.
        """
        fd = self.open_fd if self.open_fd >= 0 else self._reopen()
        try:
            inner_fd = os.open(name, OPEN_DIRECTORY, dir_fd=fd)
        except FileNotFoundError:
            return None
        inner = self.child(name)
        return inner, inner.hold(inner_fd)

    def recall(self, seen: Seen) -> Folder:
        """Take what another process has read of this directory; return it."""
        self._device, self._inode = seen.status.st_dev, seen.status.st_ino
        self._listing, self._statuses = seen.listing, seen.statuses
        return self

    @property
    def has_statuses(self) -> bool:
        """Whether what is under the names that a walk asks for has been read."""
        return self._statuses is not None

    def scan(self) -> list[tuple[str, os.stat_result | None]]:
        """Return every entry with its status, None for a directory; as `entries` otherwise."""
        if self._listing is not None:
            known, self._listing = self._listing, None
            return known
        found: list[tuple[str, os.stat_result | None]] = []
        with os.scandir(self.fd()) as listing:
            for entry in listing:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        found.append((entry.name, None))
                    else:
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
        return found

    def entries(self) -> list[tuple[str, os.stat_result]]:
        """Return every entry with its status; entries that vanish meanwhile are left out."""
        found: list[tuple[str, os.stat_result]] = []
        with os.scandir(self.fd()) as listing:
            for entry in listing:
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
        return found

    def names(self) -> list[str]:
        """Return the names of all entries."""
        return os.listdir(self.fd())

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of one entry itself, None when it is not there."""
        if self._statuses is not None and name in self._statuses:
            return self._statuses.pop(name)
        try:
            return os.stat(name, dir_fd=self.fd(), follow_symlinks=False)
        except OSError as error:
            if is_gone(error):
                return None
            raise

    def status(self) -> os.stat_result:
        """Return the status of the folder itself."""
        return os.fstat(self.fd())

    def proc_path(self, name: str) -> str:
        """Return a path for calls that take no directory descriptor, such as lgetxattr(2).

        The magic link is the borrowed descriptor, so only the last name is looked up.
        """
        return f"/proc/self/fd/{self.fd()}/{name}"

    def _reopen(self) -> int:
        tree = self.tree
        missing: list[Folder] = []
        node: Folder | None = self
        while node is not None and node.open_fd < 0:
            missing.append(node)
            node = node.parent
        fd = tree.root_fd if node is None else node.open_fd
        passing = -1
        try:
            for left in range(len(missing) - 1, -1, -1):
                fd = missing[left].open_in(fd)
                if passing >= 0:
                    os.close(passing)
                    passing = -1
                missing[left].hold(fd, lasting=left < KEPT_ABOVE)
                if left >= KEPT_ABOVE:
                    passing = fd
        finally:
            if passing >= 0:
                os.close(passing)
        return fd

    def open_in(self, parent_fd: int) -> int:
        """Open the folder in its parent's descriptor; it must be the one that it was before."""
        try:
            # The root folder has no name; "." in the root's own descriptor is itself.
            fd = os.open(self.name or ".", OPEN_DIRECTORY, dir_fd=parent_fd)
        except OSError as error:
            error.filename = self.path
            raise
        return fd

    def hold(self, fd: int, *, lasting: bool = True) -> os.stat_result:
        """Take a descriptor that must be the folder's, and return its status.

        Another one is closed. `lasting`: it is kept, and the oldest of the tree may be closed.
        """
        tree = self.tree
        status = os.fstat(fd)
        if self._inode < 0 and status.st_dev == tree.device:
            self._device, self._inode = status.st_dev, status.st_ino
        elif self._inode != status.st_ino or self._device != status.st_dev:
            try:
                self._recognise(fd, status)
            except BaseException:
                os.close(fd)
                raise
        if lasting:
            self.open_fd = fd
            kept = tree.kept
            kept.append(self)
            if len(kept) > KEPT:
                oldest = kept.pop(0)
                os.close(oldest.open_fd)
                oldest.open_fd = -1
        return status

    def _recognise(self, fd: int, status: os.stat_result) -> None:
        if self.is_known:
            raise FileNotFoundError(errno.ENOENT, "exchanged while it was read", self.path)
        self.tree.check_same_mount(self.path, fd)
        self._device, self._inode = status.st_dev, status.st_ino


class Tree:
    """A directory tree and its open descriptors; close it, or use it in a `with` statement."""

    __slots__ = ("device", "kept", "path", "root", "root_fd")

    def __init__(self, path: str) -> None:
        self.path = path
        self.root_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self.root_fd).st_dev
        # Folders with an open descriptor, the oldest first.
        self.kept: list[Folder] = []
        self.root = Folder(self, None, "")

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor of the tree."""
        for folder in self.kept:
            os.close(folder.open_fd)
            folder.open_fd = -1
        self.kept.clear()
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1

    def find(self, path: str) -> tuple[Folder, str, os.stat_result] | None:
        """Return (folder, name, status) of a path below the root, None when it is not there.

        `path` may have been written by a payload: empty names, `.` and `..` are not there.
        """
        names = path.split("/")
        if any(name in {"", ".", ".."} for name in names):
            return None
        folder = self.root
        for name in names[:-1]:
            status = folder.stat(name)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return None
            folder = folder.child(name)
        status = folder.stat(names[-1])
        return None if status is None else (folder, names[-1], status)

    def check_same_mount(self, path: str, fd: int) -> None:
        """Refuse a directory of another device when it is on another mount than the root.

        An overlay shows what is *below* a mount inside its lower directory, so the tree as the
        host sees it would be the wrong one to compare with. A btrfs subvolume has a device
        number of its own and is no mount, hence the second look.
        """
        if mount_id(fd) != mount_id(self.root_fd):
            message = f"reading {self.path}: another file system is mounted on {path}"
            raise UnsupportedError(message, f"umount {os.path.join(self.path, path)}")


def mount_id(fd: int) -> bytes:
    """Return the line of fdinfo that tells which mount a descriptor is on."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as stream:
        for line in stream:
            if line.startswith(b"mnt_id:"):
                return line
    return b""
