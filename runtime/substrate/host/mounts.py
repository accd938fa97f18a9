"""Probes of mounts: each is made in a child's own mount namespace, on a temporary directory."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from contextlib import suppress

from substrate.host.children import (
    become_unprivileged,
    enter_namespaces,
    enter_private_mounts,
    try_in_child,
)
from substrate.kernel.constants import At, Clone, Fsconfig, MountAttr, MoveMount, OpenTree
from substrate.kernel.linux import syscall
from substrate.kernel.procfs import filesystem_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def overlay() -> str:
    """Try an overlay that can be written, as we would mount it ourselves."""
    if os.geteuid() != 0:
        return overlay_userxattr()

    def attempt(directory: str) -> None:
        enter_private_mounts()
        _mount_overlay(directory, "redirect_dir=on,metacopy=on,index=on")

    return _try_in_directory(attempt)


def overlay_userxattr() -> str:
    """Try an overlay inside a user namespace, as an ordinary user."""

    def attempt(directory: str) -> None:
        os.chmod(directory, 0o777)  # noqa: S103 -- an empty directory of this probe
        become_unprivileged()
        enter_namespaces(Clone.NEWUSER | Clone.NEWNS)
        _mount_overlay(directory, "userxattr")

    return _try_in_directory(attempt)


def overlay_idmapped() -> str:
    """Try an overlay whose lower directory is an id-mapped mount."""

    def attempt(directory: str) -> None:
        lower = f"{directory}/lower"
        os.mkdir(lower)
        enter_private_mounts()
        tree = _idmapped_tree(lower)
        syscall("move_mount", tree, b"", At.FDCWD, lower.encode(), MoveMount.F_EMPTY_PATH)
        _mount_overlay(directory, "")

    return _try_in_directory(attempt)


def overlay_stacked() -> str:
    """Try an overlay over layers, named one by one or, before Linux 6.5, in one option."""

    def attempt(directory: str, options: tuple[tuple[bytes, bytes], ...]) -> None:
        enter_private_mounts()
        os.chdir(directory)
        for name in ("first", "second"):
            os.makedirs(name, exist_ok=True)
        context = syscall("fsopen", b"overlay", Fsconfig.FSOPEN_CLOEXEC)
        for key, value in options:
            syscall("fsconfig", context, Fsconfig.SET_STRING, key, value, 0)
        syscall("fsconfig", context, Fsconfig.CMD_CREATE, 0, 0, 0)

    one_by_one = ((b"lowerdir+", b"first"), (b"lowerdir+", b"second"))
    in_one = ((b"lowerdir", b"first:second"),)
    if not _try_in_directory(lambda directory: attempt(directory, one_by_one)):
        return ""
    return _try_in_directory(lambda directory: attempt(directory, in_one))


def mount_setattr() -> str:
    """Try to make a whole tree of mounts read-only in one call."""

    def attempt(directory: str) -> None:
        enter_private_mounts()
        tree = _clone_tree(directory)
        _set_attributes(tree, MountAttr.RDONLY, 0)
        os.fchdir(tree)
        try:
            os.mkdir("forbidden")
        except OSError:
            return
        message = "a read-only tree could be written"
        raise OSError(message)

    return _try_in_directory(attempt)


def idmapped() -> str:
    """Try to map the owners of a directory's files."""

    def attempt(directory: str) -> None:
        enter_private_mounts()
        os.close(_idmapped_tree(directory))

    return _try_in_directory(attempt)


def new_mount_api() -> str:
    """Try fsopen(2) to move_mount(2) with a tmpfs."""

    def attempt(directory: str) -> None:
        enter_private_mounts()
        mount = _new_mount("tmpfs")
        syscall("move_mount", mount, b"", At.FDCWD, directory.encode(), MoveMount.F_EMPTY_PATH)
        os.mkdir(f"{directory}/there")

    return _try_in_directory(attempt)


def pty() -> str:
    """Try a terminal of a devpts of its own, inside a user namespace."""

    def attempt(directory: str) -> None:
        enter_namespaces(Clone.NEWUSER | Clone.NEWNS)
        options = b"newinstance,ptmxmode=0666,mode=0620"
        syscall("mount", b"devpts", directory.encode(), b"devpts", 0, options)
        os.close(os.open(f"{directory}/ptmx", os.O_RDWR | os.O_NOCTTY))

    return _try_in_directory(attempt)


def mqueue() -> str:
    """Try the message queues of an IPC namespace of its own."""

    def attempt(directory: str) -> None:
        enter_namespaces(Clone.NEWUSER | Clone.NEWNS | Clone.NEWIPC)
        syscall("mount", b"mqueue", directory.encode(), b"mqueue", 0, None)

    return _try_in_directory(attempt)


def remedy_unless_nested(otherwise: str) -> Callable[[], str]:
    """Return what tells the way out: another one where the probes' own directory is an overlay."""

    def remedy() -> str:
        directory = tempfile.gettempdir()
        if filesystem_type(directory) != "overlay":
            return otherwise
        nested = f"{directory}, where it was tried, is on an overlay"
        return f"{nested}: set SUBSTRATE_HOME to a volume, or use --allow-degraded overlay"

    return remedy


def _try_in_directory(attempt: Callable[[str], None]) -> str:
    directory = tempfile.mkdtemp(prefix="substrate-probe-")
    try:
        return try_in_child(lambda: attempt(directory))
    finally:
        # overlayfs leaves work/work with mode 000, which only root could look into.
        with suppress(FileNotFoundError):
            os.chmod(f"{directory}/work/work", 0o700)
        shutil.rmtree(directory)


def _mount_overlay(directory: str, extra: str) -> None:
    paths = {name: f"{directory}/{name}" for name in ("lower", "upper", "work", "merged")}
    for path in paths.values():
        os.makedirs(path, exist_ok=True)
    options = f"lowerdir={paths['lower']},upperdir={paths['upper']},workdir={paths['work']}"
    data = f"{options},{extra}".rstrip(",").encode()
    syscall("mount", b"overlay", paths["merged"].encode(), b"overlay", 0, data)
    # A mount whose work directory cannot be used succeeds and is silently read-only.
    os.mkdir(f"{paths['merged']}/there")


def _clone_tree(directory: str) -> int:
    flags = OpenTree.CLONE | OpenTree.CLOEXEC | At.RECURSIVE
    return syscall("open_tree", At.FDCWD, directory.encode(), flags)


def _set_attributes(tree_fd: int, attributes: int, user_namespace_fd: int) -> None:
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    record = struct.pack("=QQQQ", attributes, 0, 0, user_namespace_fd)
    flags = At.EMPTY_PATH | At.RECURSIVE
    syscall("mount_setattr", tree_fd, b"", flags, record, len(record))


def _idmapped_tree(directory: str) -> int:
    tree = _clone_tree(directory)
    with _UserNamespace() as user_namespace_fd:
        _set_attributes(tree, MountAttr.IDMAP, user_namespace_fd)
    return tree


def _new_mount(kind: str) -> int:
    context = syscall("fsopen", kind.encode(), Fsconfig.FSOPEN_CLOEXEC)
    syscall("fsconfig", context, Fsconfig.CMD_CREATE, None, None, 0)
    return syscall("fsmount", context, Fsconfig.FSMOUNT_CLOEXEC, 0)


class _UserNamespace:
    """A descriptor of a user namespace that maps one uid and gid; a child keeps it for so long."""

    def __enter__(self) -> int:
        told, tell = os.pipe()
        self._stop_read, self._stop = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._stop)
            try:
                enter_namespaces(Clone.NEWUSER)
                os.write(tell, b"x")
                os.read(self._stop_read, 1)
            finally:
                os._exit(0)
        os.close(tell)
        made = os.read(told, 1)
        os.close(told)
        if not made:
            message = "cannot make the user namespace to map to"
            raise OSError(message)
        self._fd = os.open(f"/proc/{self._pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)
        os.close(self._stop)
        os.close(self._stop_read)
        os.waitpid(self._pid, 0)
