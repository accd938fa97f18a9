"""What a killed call has left half done in a world: seen to before anybody goes on from there."""

from __future__ import annotations

from substrate.world.accepted import is_interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.context import Context
    from substrate.world.state import State


def complete(context: Context, state: State) -> None:
    """Take back, or complete, an accept, undo or discard that was killed; wait for one at work."""
    if is_interrupted(state.data):
        from substrate.world.changing import Changing

        with Changing(context, state.world_id, lambda _: None):
            return
