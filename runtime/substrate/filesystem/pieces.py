"""Where pieces are while a project is changed: a directory of ours alone, on the project's mount.

Best in our own data directory, out of everybody's sight. When that is on another mount, beside the
project; when the project is a mount itself, inside it, where only its owner can look.
"""

from __future__ import annotations

import os

from substrate.errors import SubstrateError
from substrate.filesystem.descriptors import mount_id
from substrate.filesystem.removal import remove_layers
from substrate.kernel.quota import project_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.project import Project

PIECES = "pieces"
_NAME = ".substrate-accept-{}"


def choose_place(project: Project, directory: str, label: str) -> str:
    """Return where pieces can be renamed from and to the project; nothing is made.

    `directory` is ours; the result is below it when it is on the project's mount. `label` tells
    several worlds of one project apart. Raises `SubstrateError` when nothing can be written.
    """
    if same_mount(project.fd, directory):
        return os.path.join(directory, PIECES)
    root = os.path.realpath(project.path)
    beside = os.path.dirname(root)
    if root != "/" and same_mount(project.fd, beside) and os.access(beside, os.W_OK | os.X_OK):
        return os.path.join(beside, _NAME.format(label))
    if os.access(root, os.W_OK | os.X_OK):
        return os.path.join(root, _NAME.format(label))
    message = f"changing {project.path}: it cannot be written to"
    raise SubstrateError(message, f"findmnt --target {project.path}")


def same_mount(fd: int, path: str) -> bool:
    """Whether a path is on the mount of a descriptor, so that rename(2) works between them.

    It does not into a directory whose space is counted apart (project quotas).
    """
    other = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_dev != os.fstat(other).st_dev or mount_id(fd) != mount_id(other):
            return False
        return project_of(fd) == project_of(other)
    finally:
        os.close(other)


def link_piece(project: Project, path: str, pieces_fd: int, name: str) -> bool:
    """Make a piece one more name of a file of the project; False when that is not allowed."""
    fd, source = project.place(path)
    try:
        os.link(source, name, src_dir_fd=fd, dst_dir_fd=pieces_fd, follow_symlinks=False)
    except PermissionError:
        # fs.protected_hardlinks: a file of somebody else. A copy is what is left.
        return False
    return True


def open_pieces(path: str) -> int:
    """Return a descriptor of a directory of pieces."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def remove_pieces(path: str, kept: set[int]) -> str:
    """Remove pieces and their directory, but for those in `kept`.

    Returns the directory where the kept ones are now, "" when there are none.
    """
    if not kept:
        remove_layers(path)
        return ""
    for name in os.listdir(path):
        if not name.isdecimal() or int(name) not in kept:
            remove_layers(os.path.join(path, name))
    place = f"{path}-rescued"
    number = 1
    while os.path.lexists(f"{place}-{number}"):
        number += 1
    os.rename(path, f"{place}-{number}")
    return f"{place}-{number}"
