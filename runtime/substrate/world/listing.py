"""list: all worlds of a state root."""

from __future__ import annotations

from substrate.errors import SubstrateError
from substrate.world.store import World, list_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from substrate.world.context import Context
    from substrate.world.state import State


def all_states(context: Context, warn: Callable[[str], None]) -> Iterator[State]:
    """Yield the state of every world; one that cannot be read is a warning."""
    for world_id in list_ids(context):
        try:
            yield read_state(context, world_id)
        except SubstrateError as error:
            warn(error.message)


def read_state(context: Context, world_id: str) -> State:
    """Return the state of one world; raises `WorldNotFoundError`."""
    with World.open(context, world_id) as world:
        return world.read()
