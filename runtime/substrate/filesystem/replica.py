"""A layer made once more, exactly as it is, for another world that begins with it.

The overlay's own records are copied like everything else, but for one: a file that was moved has
its content in the project, under its old name. When either world is accepted that name means
something else, so in the replica it has its content itself.

Content is shared where the file system can (FICLONE) and copied elsewhere, never linked: a layer is
not only read later, a discard or an accept of one world sets attributes and records in it.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import SubstrateError
from substrate.filesystem.compare import OPEN_FILE
from substrate.filesystem.copying import copy_content, set_mode
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.since import Since, copied_ns, read_since

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.items import Item

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Labels of the security modules, which an ordinary user cannot set.
_LABELS = "security."
# They say of which mount a directory is a part; the kernel gives a new mount's its own.
_OF_ONE_MOUNT = ("uuid", "upper")
# Where the content of a file is.
_FOR_CONTENT = ("metacopy", "redirect")


class Replica:
    """Copies of the directories of one layer, in which names of one file stay names of one.

    `prefix` is that of the overlay's attributes; `content_of` finds by path what a file of the
    layer has in the project. `without_content` are the files that still have theirs there.
    """

    def __init__(self, prefix: str, content_of: Callable[[str], Item | None]) -> None:
        self._content_of = content_of
        self._prefix = prefix
        self._first: dict[int, tuple[Folder, str]] = {}
        self._trees: list[Tree] = []
        self.without_content: list[str] = []

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *_details: object) -> None:
        for tree in self._trees:
            tree.close()

    def copy(self, source: str, target: str) -> Since:
        """Fill the empty directory `target` with what `source` holds, which is at rest.

        Returns when the world took over what was copied (`write_since`). Raises `SubstrateError`
        for what may not be read or made.
        """
        trees = Tree(source), Tree(target)
        self._trees += trees
        try:
            return self._copy(*trees)
        except PermissionError as error:
            name = os.fsdecode(error.filename or "")
            message = f"copying the layer {source}: {name}: {error.strerror}"
            hint = "it belongs to another user, or forbids its owner to read it: fork as root"
            raise SubstrateError(message, hint) from error

    def _copy(self, source: Tree, target: Tree) -> Since:
        since = read_since(source.root.fd())
        moments: dict[int, int] = {}
        folders = [(source.root, target.root)]
        waiting = [(source.root, target.root)]
        while waiting:
            old, new = waiting.pop()
            for name, status in old.entries():
                if stat.S_ISDIR(status.st_mode):
                    os.mkdir(name, 0o700, dir_fd=new.fd())
                    inner = (old.child(name), new.child(name))
                    folders.append(inner)
                    waiting.append(inner)
                elif self._prefix + "origin" in self._make(old, new, name, status):
                    made = os.stat(name, dir_fd=new.fd(), follow_symlinks=False).st_ino
                    moments[made] = copied_ns(since, old, name, status.st_ino)
        # From the deepest up, when everything is in them: what is made in a directory changes its
        # times and gets its default access list, and its mode may forbid making anything.
        for old, new in reversed(folders):
            status, made = old.status(), new.status().st_ino
            if self._prefix + "origin" in self._finish_folder(old, new, status):
                moments[made] = copied_ns(since, old, ".", status.st_ino)
        return Since(since.began_ns, moments)

    def _finish_folder(self, old: Folder, new: Folder, status: os.stat_result) -> tuple[str, ...]:
        _set_owner(new.fd(), ".", status)
        names = _attribute_names(old, ".")
        self._copy_attributes(old, new, ".", names)
        os.fchmod(new.fd(), stat.S_IMODE(status.st_mode))
        os.utime(new.fd(), ns=(status.st_atime_ns, status.st_mtime_ns))
        return names

    def _make(self, old: Folder, new: Folder, name: str, status: os.stat_result) -> tuple[str, ...]:
        """Make what is no directory; return the names of its attributes."""
        known = self._first.get(status.st_ino) if status.st_nlink > 1 else None
        if known is not None:
            os.link(known[1], name, src_dir_fd=known[0].fd(), dst_dir_fd=new.fd(),
                    follow_symlinks=False)  # fmt: skip
            return ()
        if status.st_nlink > 1:
            self._first[status.st_ino] = (new, name)
        names = _attribute_names(old, name)
        content = self._content_of(old.path_of(name)) if self._is_moved(names) else None
        left_out = [self._prefix + own for own in _FOR_CONTENT] if content is not None else []
        if stat.S_ISREG(status.st_mode):
            _copy_file(old, name, content, new)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=old.fd()), name, dir_fd=new.fd())
        else:
            kind = stat.S_IFMT(status.st_mode) | 0o600
            os.mknod(name, kind, status.st_rdev, dir_fd=new.fd())
        fd = new.fd()
        _set_owner(fd, name, status)
        self._copy_attributes(old, new, name, tuple(key for key in names if key not in left_out))
        # Last: chown clears set-id bits, and an access list sets the group's bits.
        if not stat.S_ISLNK(status.st_mode):
            set_mode(fd, name, stat.S_IMODE(status.st_mode))
        os.utime(
            name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=fd, follow_symlinks=False
        )
        if content is None and self._prefix + "metacopy" in names:
            self.without_content.append(new.path_of(name))
        return names

    def _is_moved(self, names: tuple[str, ...]) -> bool:
        own = [self._prefix + name for name in _FOR_CONTENT]
        return self._prefix.startswith("trusted.") and all(name in names for name in own)

    def _copy_attributes(self, old: Folder, new: Folder, name: str, names: tuple[str, ...]) -> None:
        source, target = old.proc_path(name), new.proc_path(name)
        for key in names:
            if key.startswith(self._prefix) and key.removeprefix(self._prefix) in _OF_ONE_MOUNT:
                continue
            value = os.getxattr(source, key, follow_symlinks=False)
            try:
                os.setxattr(target, key, value, follow_symlinks=False)
            except PermissionError:
                if not key.startswith(_LABELS):
                    raise


def _attribute_names(folder: Folder, name: str) -> tuple[str, ...]:
    try:
        return tuple(os.listxattr(folder.proc_path(name), follow_symlinks=False))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return ()


def _copy_file(old: Folder, name: str, content: Item | None, new: Folder) -> None:
    if content is None:
        source_fd = os.open(name, OPEN_FILE, dir_fd=old.fd())
    else:
        source_fd = os.open(content.name, OPEN_FILE, dir_fd=content.folder.fd())
    try:
        target_fd = os.open(name, _NEW_FILE, 0o600, dir_fd=new.fd())
        try:
            copy_content(source_fd, target_fd)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _set_owner(fd: int, name: str, status: os.stat_result) -> None:
    made = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        os.chown(name, status.st_uid, status.st_gid, dir_fd=fd, follow_symlinks=False)
