"""Removes a tree that a payload made, whatever is in it.

Every step is on one name in an open directory, so a symbolic link is removed and never followed.
Directories deeper than `DEEPEST` are moved up beside the topmost ones first: no path grows, no
descriptor piles up, and a removal that was interrupted leaves a tree that the next call removes
the same way.
"""

from __future__ import annotations

import errno
import os

from substrate.errors import RefusedError, SubstrateError
from substrate.filesystem.descriptors import OPEN_DIRECTORY
from substrate.filesystem.layers import nested_mounts
from substrate.filesystem.space import forget_limit, limit_of

DEEPEST = 32
# Names are tried in turn: an interrupted removal may have left some.
_ASIDE = ".substrate-remove-{}"


def remove_layers(directory: str) -> None:
    """Remove `directory` and everything in it; nothing happens when it is not there.

    The layers must not be mounted any more. Raises `RefusedError` when something is mounted in
    it, and `SubstrateError` when something in it belongs to another user.
    """
    parent, name = os.path.split(os.path.abspath(directory))
    try:
        parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        # Devices are compared on the way too, but a bind mount may be of the same device.
        for point in nested_mounts(directory):
            raise _refusal(directory, point)
        project = limit_of(parent_fd, name)
        _Removal(directory, parent_fd, name).run()
        if project:
            forget_limit(parent_fd, project)
    except PermissionError as error:
        message = f"removing {directory}: {os.fsdecode(error.filename or '')}: {error.strerror}"
        hint = "remove it as root, or as the user the world maps to root"
        raise SubstrateError(message, hint) from error
    finally:
        os.close(parent_fd)


class _Removal:
    def __init__(self, directory: str, parent_fd: int, name: str) -> None:
        self._directory = directory
        self._parent_fd = parent_fd
        self._name = name
        self._device = -1
        self._aside = 0

    def run(self) -> None:
        """Remove the directory; from the deepest up, without recursion."""
        try:
            top_fd = self._open(self._parent_fd, self._name)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            os.unlink(self._name, dir_fd=self._parent_fd)
            return
        try:
            self._device = os.fstat(self._parent_fd).st_dev
            self._check_mount(top_fd, self._parent_fd, self._name)
            # What is moved up lands in the directory itself: look until nothing is left.
            while self._empty(top_fd):
                pass
        finally:
            os.close(top_fd)
        _remove_folder(self._parent_fd, self._name)

    def _empty(self, top_fd: int) -> bool:
        """Remove what is in the directory; whether anything was moved up into it meanwhile."""
        before = self._aside
        # (descriptor, name in the one before, names of directories in it still to remove)
        levels: list[tuple[int, str, list[str]]] = [(top_fd, "", self._remove_files(top_fd))]
        try:
            while levels:
                fd, name, waiting = levels[-1]
                if not waiting:
                    levels.pop()
                    if levels:
                        os.close(fd)
                        _remove_folder(levels[-1][0], name)
                    continue
                self._descend(top_fd, levels, waiting.pop())
        finally:
            for fd, _, _ in levels[1:]:
                os.close(fd)
        return self._aside != before

    def _descend(self, top_fd: int, levels: list[tuple[int, str, list[str]]], name: str) -> None:
        fd = levels[-1][0]
        try:
            inner_fd = self._open(fd, name)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            self._check_mount(inner_fd, fd, name)
            if len(levels) > DEEPEST:
                self._move_up(fd, inner_fd, name, top_fd)
                os.close(inner_fd)
                return
            levels.append((inner_fd, name, self._remove_files(inner_fd)))
        except BaseException:
            if levels[-1][0] != inner_fd:
                os.close(inner_fd)
            raise

    def _remove_files(self, fd: int) -> list[str]:
        """Remove all but directories; return the names of those."""
        folders: list[str] = []
        with os.scandir(fd) as listing:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
        for name, is_folder in entries:
            if is_folder:
                folders.append(name)
                continue
            try:
                os.unlink(name, dir_fd=fd)
            except FileNotFoundError:
                continue
            except PermissionError:
                # Its directory may not be writable: so it is for its owner now.
                os.chmod(f"/proc/self/fd/{fd}", 0o700)
                os.unlink(name, dir_fd=fd)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise _refusal(self._directory, _path_of(fd, name)) from error
                raise
        return folders

    def _open(self, parent_fd: int, name: str) -> int:
        try:
            return os.open(name, OPEN_DIRECTORY, dir_fd=parent_fd)
        except PermissionError:
            # A mode like 000 keeps its owner out, unless that is root. A handle that needs no
            # permission, because chmod(2) by name would follow a link put in its place.
            handle = os.open(
                name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd
            )
            try:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)
            finally:
                os.close(handle)
            return os.open(name, OPEN_DIRECTORY, dir_fd=parent_fd)

    def _check_mount(self, fd: int, parent_fd: int, name: str) -> None:
        if os.fstat(fd).st_dev != self._device:
            raise _refusal(self._directory, _path_of(parent_fd, name))

    def _move_up(self, fd: int, inner_fd: int, name: str, top_fd: int) -> None:
        """Move a directory to the top; its own `..` changes, so it must be writable too."""
        writable = False
        while True:
            self._aside += 1
            try:
                os.rename(name, _ASIDE.format(self._aside), src_dir_fd=fd, dst_dir_fd=top_fd)
            except PermissionError:
                if writable:
                    raise
                for each_fd in (fd, inner_fd, top_fd):
                    os.chmod(f"/proc/self/fd/{each_fd}", 0o700)
                writable = True
                continue
            except OSError as error:
                # A directory with that name is there, left by an earlier call. (An empty one is
                # replaced.)
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                    raise
                continue
            return


def _path_of(parent_fd: int, name: str) -> str:
    return os.path.join(os.readlink(f"/proc/self/fd/{parent_fd}"), name)


def _refusal(directory: str, point: str) -> RefusedError:
    message = f"removing {directory}: something is mounted on {point}"
    return RefusedError(message, f"umount {point}")


def _remove_folder(parent_fd: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return
    except PermissionError:
        os.chmod(f"/proc/self/fd/{parent_fd}", 0o700)
        os.rmdir(name, dir_fd=parent_fd)
