"""What is left in a layer after its changes, or some of them, are in the project.

The records of an overlay name places in the project: where a moved directory was, where the content
of a file lies whose mode alone has changed. When the project changes below them they must still be
true, or be made true, or the change is refused.
"""

from __future__ import annotations

import errno
import os

from substrate.errors import RefusedError
from substrate.filesystem.archive import make_fresh
from substrate.filesystem.conflict import host_path
from substrate.filesystem.entries import DELETE, MOD, RENAME, TOUCHED, WRITE, Entry
from substrate.filesystem.removal import remove_layers
from substrate.filesystem.renames import after_renames
from substrate.kernel.files import exchange, open_beneath
from substrate.printable import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.changes import LayerChanges

    # A path in the layer, the redirect it gets and the one it had.
    Redirection = tuple[str, str, str]

_FRESH = ".fresh"


def check_rest(changes: LayerChanges, chosen: list[Entry], *, lives: bool) -> None:
    """Refuse a choice after which the rest of the layer would not mean what it means now.

    `lives`: processes use the layer, so nothing of it can be adapted. Raises `RefusedError`.
    """
    picked = {id(entry) for entry in chosen}
    displaced = {
        host_path(entry): entry
        for entry in chosen
        if entry.change in {MOD, DELETE} or (lives and entry.change == RENAME)
    }
    for entry in changes.diff.entries:
        if id(entry) in picked and not lives:
            continue
        for path in _relied_on(changes, entry):
            other = _covering(displaced, path)
            if other is not None and (lives or other.path != entry.path):
                raise _refusal(entry, other, lives=lives)
    if lives:
        _check_no_index(chosen)
        return
    _check_links(changes, picked)
    _check_redirects(changes, chosen, displaced)


def redirects_after(changes: LayerChanges, chosen: list[Entry]) -> list[Redirection]:
    """Return the redirects that must be others once the chosen renames are made."""
    renames = {entry.origin: entry.path for entry in chosen if entry.change == RENAME}
    if not renames:
        return []
    found: list[Redirection] = []
    for path, lower in changes.redirects():
        now = after_renames(lower, renames)
        if now != lower:
            found.append((path, "/" + now, "/" + lower))
    if found and not changes.is_single:
        message = f"accepting a part: {quote(found[0][0])} was moved, and other layers know of it"
        raise RefusedError(message, "accept everything, or leave what was moved out")
    return found


def set_redirects(layer: str, redirects: Iterable[Redirection], prefix: str) -> None:
    """Give entries of a layer the redirects of `redirects_after`; twice is once.

    What has been discarded meanwhile is left out.
    """
    upper_fd = os.open(os.path.join(layer, "upper"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, redirect, _ in redirects:
            _set_redirect(upper_fd, path, redirect, prefix)
    finally:
        os.close(upper_fd)


def empty_layer(layer: str, project: str, userxattr: bool) -> None:
    """Exchange a layer that is not mounted for a fresh one, at once."""
    fresh = layer + _FRESH
    remove_layers(fresh)
    make_fresh(fresh, project, userxattr=userxattr)
    parent_fd = os.open(os.path.dirname(layer), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        exchange(parent_fd, os.path.basename(layer), parent_fd, os.path.basename(fresh))
        os.fsync(parent_fd)
    finally:
        os.close(parent_fd)
    remove_layers(fresh)


def _relied_on(changes: LayerChanges, entry: Entry) -> list[str]:
    """Return the paths in the project that an entry's record in the layer needs."""
    item = entry.item
    if item is None:
        return []
    found: list[str] = []
    if changes.in_project(item) and item.name:
        found.append(item.folder.path_of(item.name))
    if item.data is not None and changes.in_project(item.data):
        found.append(item.data.folder.path_of(item.data.name))
    if entry.change == RENAME and item.marks is not None and item.marks.redirect:
        found.append(entry.origin)
    return found


def _covering(displaced: dict[str, Entry], path: str) -> Entry | None:
    while path:
        if path in displaced:
            return displaced[path]
        path = path.rpartition("/")[0]
    return None


def _refusal(entry: Entry, other: Entry, *, lives: bool) -> RefusedError:
    if lives:
        message = f"{quote(entry.path)}: the world still runs, and finds it by its old place"
        return RefusedError(message, "end its processes first: substrate-runtime kill ID KILL")
    message = f"accepting {quote(other.path)} alone: {quote(entry.path)} was made from it"
    return RefusedError(message, f"name {quote(entry.path)} too")


def _check_no_index(chosen: list[Entry]) -> None:
    """Refuse names of one file: a mounted overlay finds them by an inode, which changes."""
    for entry in chosen:
        if entry.item is not None and entry.item.marks is not None and entry.item.marks.indexed:
            raise _refusal(entry, entry, lives=True)


def _check_redirects(
    changes: LayerChanges, chosen: list[Entry], displaced: dict[str, Entry]
) -> None:
    """Refuse to put something else where the project keeps what was moved."""
    # By path and origin: a rename found by content may be another than the overlay's own.
    moved = {(entry.path, entry.origin) for entry in chosen if entry.change == RENAME}
    told = {(e.path, e.origin) for e in changes.diff.entries if e.change == RENAME}
    redirects = list(changes.redirects())
    guessed = moved.difference(redirects)
    if guessed and any(one not in moved for one in redirects):
        path, origin = min(guessed)
        message = f"accepting a part: {quote(path)} is {quote(origin)} by its content alone"
        raise RefusedError(message, "accept everything, or leave what was moved out")
    for path, before in redirects:
        if (path, before) in moved:
            continue
        inside = before + "/"
        other = _covering(displaced, before)
        if (path, before) not in told:
            # Its old place is in use again, and what goes from there is still in it.
            gone = (entry for old, entry in displaced.items() if old.startswith(inside))
            other = other or next(gone, None)
        for entry in chosen:
            if entry.change in {WRITE, MOD, RENAME} and f"{entry.path}/".startswith(inside):
                other = entry
        if other is not None:
            message = f"accepting {quote(other.path)} alone: {quote(path)} was at {quote(before)}"
            raise RefusedError(message, f"name {quote(path)} too, or accept everything")


def _check_links(changes: LayerChanges, picked: set[int]) -> None:
    """Names of one file that the overlay keeps as one are accepted together."""
    sides: dict[tuple[int, int], tuple[bool, Entry]] = {}
    for entry in changes.diff.entries:
        item = entry.item
        if item is None or entry.change in {WRITE, TOUCHED}:
            continue
        if item.marks is None or not item.marks.indexed:
            continue
        key = (item.status.st_dev, item.status.st_ino)
        side = (id(entry) in picked, entry)
        first = sides.setdefault(key, side)
        if first[0] != side[0]:
            one, two = quote(first[1].path), quote(entry.path)
            message = f"{one} and {two} are names of one file"
            raise RefusedError(message, "accept both or neither")


def _set_redirect(upper_fd: int, path: str, redirect: str, prefix: str) -> None:
    parent, _, name = path.rpartition("/")
    key = prefix + "redirect"
    try:
        fd = open_beneath(upper_fd, parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        where = f"/proc/self/fd/{fd}/{name}"
        # Only what has one: a file that was written anew there needs none.
        os.setxattr(where, key, os.fsencode(redirect), os.XATTR_REPLACE, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENODATA}:
            raise
    finally:
        os.close(fd)
