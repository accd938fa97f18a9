"""When a world took over what is in a layer whose files were made once more later.

The birth of a copy is the moment the overlay made it, and what the host changes after that moment
is a conflict. Layers that are made again, of several for instance, are born later than what they
hold was taken over: what the host did in between would pass for something the world had seen. So
the moments are kept beside the upper directory of such a layer.
"""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.filesystem.layers import BEGAN_FILE
from substrate.kernel.files import birth_ns
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.descriptors import Folder

SINCE_FILE = "since.json"


@record
class Since:
    """When a layer began, and inode -> when that file of it was copied; in nanoseconds since 1970.

    A file that is not listed was copied when it was born.
    """

    began_ns: int
    copied_ns: dict[int, int]


def write_since(directory: str, since: Since) -> None:
    """Keep it in the new directory of a layer; its maker syncs."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(os.path.join(directory, SINCE_FILE), flags, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        kept = {str(inode): moment for inode, moment in since.copied_ns.items()}
        file.write(jsontext.dumps([since.began_ns, kept]))


def read_since(upper_fd: int) -> Since:
    """Return what is kept of the layer whose upper directory is open, else what its birth says."""
    try:
        fd = os.open(
            f"../{SINCE_FILE}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=upper_fd
        )
    except FileNotFoundError:
        return Since(_began_ns(upper_fd), {})
    with open(fd, "rb") as file:
        began_ns, kept = jsontext.loads(file.read())
    return Since(began_ns, {int(inode): moment for inode, moment in kept.items()})


def _began_ns(upper_fd: int) -> int:
    try:
        return os.stat(f"../{BEGAN_FILE}", dir_fd=upper_fd, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return birth_ns(upper_fd, ".")


def was_made_again(upper_fd: int) -> bool:
    """Whether the layer whose upper directory is open was made of others."""
    try:
        os.stat(f"../{SINCE_FILE}", dir_fd=upper_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def copied_ns(since: Since, folder: Folder, name: str, inode: int) -> int:
    """Return when an entry of a layer was copied from what is below, 0 when nobody knows."""
    kept = since.copied_ns.get(inode)
    return birth_ns(folder.fd(), name) if kept is None else kept
