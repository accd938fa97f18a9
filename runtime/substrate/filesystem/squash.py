"""Several layers made into one that shows the same, for stacks that have grown too high.

What a layer holds complete is linked, not copied. Only files whose content is in another of the
layers are written anew, and records that lead below them are told again. The result is a lower
layer only: what an overlay notes for its upper one alone is left out.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import SubstrateError
from substrate.filesystem.compare import Unreadable, read_chunks
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.layers import copy_root
from substrate.filesystem.merged import Merged, as_item
from substrate.filesystem.since import Since, copied_ns, read_since

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Folder
    from substrate.filesystem.merged import Directory, Hit, Part

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def squash(uppers: list[str], lowers: list[str], xattr_prefix: str, target: str) -> Since:
    """Fill the empty directory `target` with what `uppers` show over `lowers`, topmost first.

    All are at rest, and `target` is on their file system. What was copied is on the disk then.
    Returns when the world took over what it holds, to be kept beside it (`write_since`).
    Raises `SubstrateError` for a file that cannot be read; `target` may then be half full.
    """
    trees: list[Tree] = []
    try:
        trees += [Tree(path) for path in (*uppers, *lowers)]
        with Tree(target) as made:
            squashing = _Squash(Merged(trees, len(uppers), xattr_prefix), made)
            squashing.run()
        copy_root(uppers[0], target)
        return squashing.since()
    finally:
        for tree in trees:
            tree.close()


class _Squash:
    def __init__(self, merged: Merged, made: Tree) -> None:
        self._merged = merged
        self._made = made
        # Inode of a file that was written anew -> where, for its other names.
        self._written: dict[int, tuple[Folder, str]] = {}
        # Directories with what they are copies of: finished from the deepest up, because what is
        # made in a directory changes its times, and its mode may forbid making anything.
        self._folders: list[tuple[Folder, Hit]] = []
        self._since = [read_since(tree.root.fd()) for tree in merged.trees[: merged.uppers]]
        self._copied_ns: dict[int, int] = {}

    def since(self) -> Since:
        """Return when the world took over what was made."""
        return Since(min(since.began_ns for since in self._since), self._copied_ns)

    def run(self) -> None:
        """Make everything."""
        merged = self._merged
        root = merged.roots[: merged.uppers]
        below = merged.lower_root()
        waiting: list[tuple[Folder, list[Part], Directory | None]] = [
            (self._made.root, root, below)
        ]
        while waiting:
            target, parts, under = waiting.pop()
            for position, name, status, hidden in merged.listing(parts):
                if hidden:
                    if under is not None:
                        _make_whiteout(target, name)
                    continue
                rest = parts[position:] + ([] if under is None else under.parts)
                place = "" if under is None else under.path_of(name)
                hits, where = merged.lookup(rest, name, place)
                if stat.S_ISDIR(status.st_mode):
                    inner = merged.below(merged.parts_of(hits), where)
                    upper = [hit for hit in hits if hit.level < merged.uppers]
                    self._make_folder(target, name, upper, inner, place)
                    waiting.append((target.child(name), merged.parts_of(upper), inner))
                else:
                    self._make_file(target, name, hits, where)
        for folder, source in reversed(self._folders):
            fd = folder.fd()
            _copy_metadata(fd, source, merged.prefix)

    def _make_folder(
        self, target: Folder, name: str, upper: list[Hit], inner: Directory | None, place: str
    ) -> None:
        os.mkdir(name, 0o700, dir_fd=target.fd())
        made, prefix = target.child(name), self._merged.prefix
        if inner is None:
            os.setxattr(made.fd(), prefix + "opaque", b"y")
        elif inner.path != place:
            os.setxattr(made.fd(), prefix + "redirect", os.fsencode(f"/{inner.path}"))
        self._keep_moment(os.fstat(made.fd()), upper)
        self._folders.append((made, upper[0]))

    def _make_file(self, target: Folder, name: str, hits: list[Hit], where: str) -> None:
        top = hits[0]
        if not top.is_metacopy:
            _link(top.folder, top.name, target, name)
            if top.status.st_ino in self._since[top.level].copied_ns:
                self._keep_moment(top.status, [top])
            return
        known = self._written.get(top.status.st_ino)
        if known is not None:
            _link(*known, target, name)
            return
        self._written[top.status.st_ino] = (target, name)
        content = next((hit for hit in hits if not hit.is_metacopy), None)
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=target.fd())
        try:
            upper = [hit for hit in hits if hit.level < self._merged.uppers]
            self._keep_moment(os.fstat(fd), upper)
            if content is None:
                raise _unreadable(top)
            if content.level < self._merged.uppers:
                for chunk in read_chunks(as_item(hits, "")):
                    os.write(fd, chunk)
                os.fsync(fd)
                self._copy_origin(fd, upper[-1])
            else:
                os.ftruncate(fd, top.status.st_size)
                self._copy_marks(fd, top, where)
            _copy_metadata(fd, top, self._merged.prefix)
        except Unreadable:
            raise _unreadable(top) from None
        finally:
            os.close(fd)

    def _keep_moment(self, made: os.stat_result, sources: list[Hit]) -> None:
        self._copied_ns[made.st_ino] = min(
            copied_ns(self._since[hit.level], hit.folder, hit.name, hit.status.st_ino)
            for hit in sources
        )

    def _copy_origin(self, fd: int, lowest: Hit) -> None:
        """Let it be known as a copy of what the lowest of the layers copied."""
        key, where = self._merged.prefix + "origin", lowest.folder.proc_path(lowest.name)
        try:
            os.setxattr(fd, key, os.getxattr(where, key, follow_symlinks=False))
        except OSError as error:
            if error.errno != errno.ENODATA:  # new in that layer
                raise

    def _copy_marks(self, fd: int, top: Hit, where: str) -> None:
        prefix = self._merged.prefix
        value = os.getxattr(
            top.folder.proc_path(top.name), prefix + "metacopy", follow_symlinks=False
        )
        os.setxattr(fd, prefix + "metacopy", value)
        os.setxattr(fd, prefix + "redirect", os.fsencode(f"/{where}"))


def _unreadable(hit: Hit) -> SubstrateError:
    message = f"joining layers: {hit.folder.path_of(hit.name)}: its content cannot be read"
    return SubstrateError(message)


def _link(source: Folder, name: str, target: Folder, new: str) -> None:
    os.link(name, new, src_dir_fd=source.fd(), dst_dir_fd=target.fd(), follow_symlinks=False)


def _make_whiteout(target: Folder, name: str) -> None:
    os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=target.fd())


def _copy_metadata(fd: int, source: Hit, prefix: str) -> None:
    status, where = source.status, source.folder.proc_path(source.name)
    made = os.fstat(fd)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    for key in os.listxattr(where, follow_symlinks=False):
        # Those of an overlay inside this one stay: they are escaped.
        if key.startswith(prefix) and not key.startswith(prefix + "overlay."):
            continue
        try:
            os.setxattr(fd, key, os.getxattr(where, key, follow_symlinks=False))
        except OSError as error:
            # Attributes of the security modules, which an ordinary user cannot set.
            if error.errno not in {errno.EPERM, errno.EACCES, errno.ENOTSUP}:
                raise
    # Last: chown clears set-id bits, and an access list sets the group's bits.
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
