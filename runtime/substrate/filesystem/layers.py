"""The two directories of a layer: what a world writes (`upper`) and the overlay's own (`work`).

The mount itself is a step of the isolation sequence; removing a layer is in `removal.py`.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import OverlayUnsupportedError, RefusedError, SubstrateError, UnsupportedError
from substrate.kernel.procfs import mount_lines
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Of the extended attributes an overlay writes for itself, as root and in a user namespace.
OVERLAY_PREFIXES = ("trusted.overlay.", "user.overlay.")
_NOT_OURS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENODATA)
_LONGEST_VALUE = 255
# In the directory of a layer, instead of `upper` and `work`, where no overlay can be had.
COPY = "copy"
OVERLAY_HINT = (
    "allow a copy of the project instead, with --allow-degraded overlay or in"
    " substrate.allowDegraded; or set SUBSTRATE_HOME to a directory on another file system"
)


# Beside the upper directory of a layer that is older than its span: written when that began.
BEGAN_FILE = "began"


@record
class Layer:
    """One layer over a project.

    `lower` is the real project, never written; `at` where the world sees it; `userxattr` says
    that the overlay is mounted in a user namespace and keeps its records in `user.overlay.*`.
    """

    upper: str
    work: str
    lower: str
    at: str
    userxattr: bool = False


def make_layer(directory: str, project: str, at: str, userxattr: bool) -> Layer:
    """Create `directory`/upper and `directory`/work for a layer over `project`.

    The upper directory becomes the root of what the world sees, so it gets the project's mode,
    owner and extended attributes. Raises `SubstrateError` when the owner cannot be set, and
    `OverlayUnsupportedError` where an overlay could not keep its records.
    """
    upper, work = os.path.join(directory, "upper"), os.path.join(directory, "work")
    for path in (upper, work):
        os.mkdir(path, 0o700)
    _check_keeps_records(work, userxattr)
    copy_root(project, upper)
    return Layer(upper, work, project, at, userxattr)


def _check_keeps_records(work: str, userxattr: bool) -> None:
    """Refuse a file system without attributes, which the kernel takes and then fails on.

    There an overlay can be mounted, and to remove a directory in it ends in EIO.
    """
    key = ("user" if userxattr else "trusted") + ".overlay.substrate"
    try:
        os.setxattr(work, key, b"")
        os.removexattr(work, key)
    except OSError as error:
        reason = (error.strerror or "").lower()
        message = f"making a layer in {work}: its file system keeps no attributes: {reason}"
        raise OverlayUnsupportedError(message, OVERLAY_HINT) from error


def begin_now(directory: str) -> None:
    """Let a layer begin at this moment, which is empty and was made, or used, before."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(os.path.join(directory, BEGAN_FILE), flags, 0o600)
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def copy_root(source: str, upper: str) -> None:
    """Give an upper directory the mode, owner, attributes and times of what it comes to cover.

    It is the root of what the world sees. Raises `SubstrateError` when the owner cannot be set.
    """
    source_fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        upper_fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _copy_root(source_fd, upper_fd, source)
            status = os.fstat(source_fd)
            os.utime(upper_fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(upper_fd)
    finally:
        os.close(source_fd)


def overlay_options(layer: Layer) -> tuple[tuple[str, str | None], ...]:
    """Return the overlay's parameters for fsconfig, layers first; None is a flag.

    Rootless the kernel takes neither redirects nor metacopy (`userxattr` excludes them).
    """
    layers = (
        ("lowerdir", escape(layer.lower)),
        ("upperdir", escape(layer.upper)),
        ("workdir", escape(layer.work)),
    )
    if layer.userxattr:
        return (*layers, ("userxattr", None))
    return (*layers, ("redirect_dir", "on"), ("metacopy", "on"), ("index", "on"))


@record
class Stacked:
    """A layer over others: `directory` is the new one, `below` those under it, topmost first.

    Names relative to the world's data directory, each a directory with `upper` and `work`.
    """

    directory: str
    below: tuple[str, ...]


def stack_options(
    stack: Stacked, project: str, data: str, *, userxattr: bool, names: Sequence[str] = ()
) -> tuple[tuple[str, str | None], ...]:
    """Return the parameters of an overlay of many layers; `project` and `data` name directories.

    `names`: short ones for `lower_layers`, in the same order, for a kernel that takes them in one
    option only. Without an index: names of one file that a layer splits must stay split in the
    layers above it, which know nothing of its index. Volatile: or the end of every span would
    write the whole file system to the disk. docs/decisions/0006-stacked-layers.md has both.
    """
    lowers: tuple[tuple[str, str | None], ...] = (("lowerdir", ":".join(names)),)
    if not names:
        lowers = tuple(("lowerdir+", lower) for lower in lower_layers(stack, project, data))
    layers = (
        *lowers,
        ("upperdir", f"{data}/{stack.directory}/upper"),
        ("workdir", f"{data}/{stack.directory}/work"),
        ("volatile", None),
    )
    if userxattr:
        return (*layers, ("userxattr", None))
    return (*layers, ("redirect_dir", "on"), ("metacopy", "on"), ("index", "off"))


def lower_layers(stack: Stacked, project: str, data: str) -> tuple[str, ...]:
    """Return the directories below a layer, the topmost first."""
    return (*(f"{data}/{name}/upper" for name in stack.below), project)


def short_names(count: int) -> tuple[str, ...]:
    """Return names so short that 100 of them, and colons between, are no more than 255 bytes.

    That is what fsconfig(2) takes as a value. Raises `UnsupportedError` for more.
    """
    first = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = (*first, *(f"_{character}" for character in first))[:count]
    if len(names) < count or len(":".join(names)) > _LONGEST_VALUE:
        message = f"{count} layers are more than this kernel can name in one mount option"
        raise UnsupportedError(message, "end the processes of the world, so that they are joined")
    return names


def escape(path: str) -> str:
    """Escape a path for an overlay option, where a colon separates layers."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


def check_separate(project: str, *roots: str) -> None:
    """Refuse a project and our own directories that contain each other.

    Were a layer inside the project, the world could name its own upper directory; were the
    project inside a root, a world could write other worlds' state. Directories are compared by
    device and inode on the way up, so neither links nor bind mounts of a parent hide anything.
    """
    for root in roots:
        if _is_inside(root, project):
            message = f"using {project} as the project: {root} is inside it"
            raise RefusedError(message, "set SUBSTRATE_HOME to a directory outside the project")
        if _is_inside(project, root):
            message = f"using {project} as the project: it is inside {root}"
            raise RefusedError(message, "choose a project outside Substrate's own directories")


def nested_mounts(project: str) -> tuple[str, ...]:
    """Return the mount points inside a directory, which is not one of them itself.

    An overlay shows what is below them, so a project with mounts in it needs a layer for each.
    """
    inside = os.path.realpath(project).rstrip("/") + "/"
    return tuple(sorted({line.point for line in mount_lines() if line.point.startswith(inside)}))


def _copy_root(source_fd: int, target_fd: int, project: str) -> None:
    status = os.fstat(source_fd)
    made = os.fstat(target_fd)
    if (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
        try:
            os.fchown(target_fd, status.st_uid, status.st_gid)
        except PermissionError as error:
            message = f"making a layer over {project}: it belongs to another user"
            hint = "run as its owner or as root"
            raise SubstrateError(message, hint) from error
    wanted = os.listxattr(source_fd)
    for key in os.listxattr(target_fd):
        if key not in wanted and not key.startswith(OVERLAY_PREFIXES):
            try:
                os.removexattr(target_fd, key)
            except OSError as error:
                # The security module labels what is made here; that is its decision.
                if error.errno not in _NOT_OURS:
                    raise
    for key in wanted:
        # The project may have been an overlay's upper directory once: those records would be
        # taken for this one's.
        if key.startswith(OVERLAY_PREFIXES):
            continue
        try:
            os.setxattr(target_fd, key, os.getxattr(source_fd, key))
        except OSError as error:
            # EPERM: attributes of the security modules, which an ordinary user cannot set.
            if error.errno not in _NOT_OURS:
                raise
    # Last: chown clears set-id bits, and an access list sets the group's bits.
    os.fchmod(target_fd, stat.S_IMODE(status.st_mode))


def _is_inside(path: str, container: str) -> bool:
    """Whether `path`, or the nearest of its parents that exists, is in `container` or is it."""
    wanted = _identity(container)
    if wanted is None:
        # What is not there yet has no inode: only the name is left to compare.
        whole, outer = os.path.realpath(path) + "/", os.path.realpath(container).rstrip("/") + "/"
        return whole.startswith(outer)
    current = os.path.realpath(path)
    while True:
        if _identity(current) == wanted:
            return True
        parent = os.path.dirname(current)
        if parent == current:
            return False
        current = parent


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_dev, status.st_ino)
