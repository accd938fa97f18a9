"""What an accept or undo of one world moves in the project, and the other worlds over it.

Their layers find moved directories and files by where those were. So they are told, and look for
themselves, before their next command or change, once nobody uses their layers.
"""

from __future__ import annotations

import os
from contextlib import suppress

from substrate.errors import RefusedError, SubstrateError
from substrate.world.listing import read_state
from substrate.world.stack import BASE_LAYER, cover_of
from substrate.world.store import list_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.context import Context
    from substrate.world.stack import LayerStack
    from substrate.world.state import State

MOVED_FILE = "moved"


def tell_others(context: Context, state: State) -> None:
    """Tell all other worlds of a project that something of it has been moved, or will be now.

    The caller has locked the project.
    """
    assert state.layer is not None  # noqa: S101 -- only such worlds are accepted
    for world_id in list_ids(context):
        if world_id == state.world_id:
            continue
        # One that cannot be read, or goes meanwhile, is told nothing.
        with suppress(SubstrateError, OSError):
            other = read_state(context, world_id)
            found = other.layer
            # A copy finds nothing by its place in the project.
            if found is not None and not found.copied and found.project == state.layer.project:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                os.close(os.open(f"{other.data}/{MOVED_FILE}", flags, 0o600))


def was_told(data: str) -> bool:
    """Whether a world has been told, and has not looked yet."""
    return os.path.lexists(f"{data}/{MOVED_FILE}")


def follow_if_free(state: State, stack: LayerStack) -> None:
    """Do as `follow_moves`, unless somebody is changing the project right now."""
    from substrate.filesystem.project import Project

    assert state.layer is not None  # noqa: S101 -- it has been told
    with suppress(RefusedError), Project(state.layer.project) as project:
        project.lock()
        follow_moves(state, stack)


def follow_moves(state: State, stack: LayerStack) -> None:
    """Make a world's layers find again what was moved.

    They are at rest, the stack and the project are locked.
    """
    from substrate.filesystem.mending import mend

    layer = state.layer
    assert layer is not None  # noqa: S101 -- it has been told
    uppers = [stack.path(one) for one in (*reversed(stack.layers()), BASE_LAYER)]
    lowers = [*cover_of(state.data), layer.project]
    mend([f"{path}/upper" for path in uppers], lowers, layer.xattr_prefix, state.data)
    os.unlink(f"{state.data}/{MOVED_FILE}")
