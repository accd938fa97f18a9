"""Which paths of a project its bundle's `readonly` patterns protect."""

from __future__ import annotations

import os

from substrate.errors import UnsupportedError
from substrate.isolation.denied import matching_paths
from substrate.printable import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Each is a mount of every command: a thousand would take longer than most commands.
MOST = 256


def protected_paths(project: str, patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that are there now, relative to the project; what is in them goes with them.

    Raises `UnsupportedError` for what cannot be protected, and where it is too much.
    """
    found = matching_paths(project, patterns)
    if len(found) > MOST:
        message = f"project.readonly matches {len(found)} paths, and {MOST} can be protected"
        raise UnsupportedError(message, "name the directories that they are in")
    for path in found:
        if os.path.islink(os.path.join(project, path)):
            message = f"project.readonly matches the link {quote(path)}, which cannot be protected"
            raise UnsupportedError(message, "name what it leads to, or the directory it is in")
    return tuple(found)
