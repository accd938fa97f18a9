"""Finding cgroups that were made for worlds, whoever has forgotten them."""

from __future__ import annotations

import os

from substrate.cgroups.group import Cgroup
from substrate.cgroups.hierarchy import find_hierarchy
from substrate.cgroups.owned import OWNER_MARKS, owner_of
from substrate.errors import UnsupportedError
from substrate.kernel import cgroup2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def find_marked(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield each cgroup whose owner begins with `prefix`, and that owner; parents first.

    What is below a world's cgroup is the world's, whatever it says of itself.
    """
    mount = find_hierarchy().mount
    if not mount:
        return
    pending = [mount]
    while pending:
        directory = pending.pop()
        try:
            found = Cgroup.open(directory)
        except (OSError, UnsupportedError):
            continue  # not for us to see, or another file system mounted there
        if found is None:
            continue
        with found:
            owner = owner_of(found)
            if owner is None:
                pending += [f"{directory}/{name}" for name in cgroup2.children(found.fd)]
            elif owner.startswith(prefix) and _is_ours(found):
                yield directory, owner


def holds_process(directory: str, pid: int) -> bool:
    """Whether a process is in a cgroup or below it."""
    found = Cgroup.open(directory)
    if found is None:
        return False
    with found:
        return pid in found.processes()


def _is_ours(found: Cgroup) -> bool:
    """Whether the mark is one that nobody else could have set."""
    if os.fstat(found.fd).st_uid == os.geteuid():
        return True
    try:
        os.getxattr(found.fd, OWNER_MARKS[0])
    except OSError:
        return False
    return True
