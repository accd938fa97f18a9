"""Taking layers out of a stack again: back to a point, or one span from the middle.

Refused while anybody could still see or write the layers. Layers go one by one from the top, each
by one rename, so an interruption leaves a stack that was there once.
"""

from __future__ import annotations

import os

from substrate.errors import RefusedError, UnsupportedError, UsageError, WorldStateError
from substrate.printable import quote
from substrate.world import state as states
from substrate.world.accepted import highest_accepted
from substrate.world.completing import complete
from substrate.world.kill import world_processes
from substrate.world.listing import read_state
from substrate.world.points import SNAPSHOTS, forget_points, number_of
from substrate.world.reserve import Released
from substrate.world.stack import LayerStack, SpanLayer, check_span_id
from substrate.world.store import World
from substrate.world.unattended import record_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from substrate.world.context import Context
    from substrate.world.state import State


def rollback(context: Context, world_id: str, point: str | None) -> list[str]:
    """Drop every layer above a point, and return the ids of their spans, the topmost first.

    `point` is a span or a snapshot, None the beginning: before the first span. Raises
    `WorldStateError` while processes of spans live, `SubstrateError` when there is no such point.
    """
    state, owner = open_layered(context, world_id)
    assert state.layer is not None  # noqa: S101 -- _open has looked
    with Released(state.data), LayerStack(state.layer, state.data) as stack:
        number = highest_accepted(state.data) if point is None else number_of(state.data, point)
        refuse_alive(state, owner)
        refuse_squashed(stack, number)
        record_all(state, owner, stack)
        # First: a number that is free will be another layer's.
        forget_points(state.data, number)
        dropped = [layer for layer in reversed(stack.layers()) if layer.number > number]
        for layer in dropped:
            stack.drop(layer)
    return [layer.span_id for layer in dropped]


def snapshot(context: Context, world_id: str, name: str) -> None:
    """Name the present state of a world, for `rollback`.

    Raises `WorldStateError` while processes of spans live, or when the name is taken.
    """
    check_span_id(name)
    state, owner = open_layered(context, world_id)
    assert state.layer is not None  # noqa: S101 -- _open has looked
    with LayerStack(state.layer, state.data) as stack:
        refuse_alive(state, owner)
        layers = stack.layers()
        if any(layer.span_id == name for layer in layers):
            message = f"{name} is the id of a span"
            raise UsageError(message, "choose another name")
        os.makedirs(f"{state.data}/{SNAPSHOTS}", 0o700, exist_ok=True)
        number = layers[-1].number if layers else highest_accepted(state.data)
        try:
            os.symlink(str(number), f"{state.data}/{SNAPSHOTS}/{name}")
        except FileExistsError:
            message = f"there is a snapshot {name} already"
            raise WorldStateError(message, "choose another name") from None


def drop_span(context: Context, world_id: str, span_id: str, *, dry_run: bool = False) -> FsDiff:
    """Drop the layer of one span, wherever it is in the stack; return what the span changed.

    `dry_run`: only find out whether it can be done. Raises `RefusedError` when a later span
    changed, or went on from, what it changed, `WorldStateError` when it has no layer.
    """
    from substrate.filesystem.clashes import first_clash
    from substrate.world.changes import span_diff

    state, owner = open_layered(context, world_id)
    assert state.layer is not None  # noqa: S101 -- _open has looked
    with Released(state.data), LayerStack(state.layer, state.data) as stack:
        refuse_alive(state, owner)
        record_all(state, owner, stack)
        layer = _layer_of(stack, span_id)
        mine = span_diff(state, span_id)
        for later in (one for one in stack.layers() if one.number > layer.number):
            uppers = (f"{stack.path(one)}/upper" for one in (layer, later))
            path = first_clash(next(uppers), mine, next(uppers), state.layer.xattr_prefix)
            if path is not None:
                message = f"dropping span {span_id}: {quote(path)} was changed by {later.span_id}"
                hint = f"substrate-runtime rollback {world_id} SPAN drops both"
                raise RefusedError(message, hint)
        if not dry_run:
            stack.drop(layer)
    return mine


def open_layered(context: Context, world_id: str) -> tuple[State, str]:
    """Return the state of a world with layers and its directory; raises `UnsupportedError`."""
    state = read_state(context, world_id)
    if state.layer is None:
        message = f"the world {world_id} has no layers"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    complete(context, state)
    if state.layer.copied:
        from substrate.world.copying import refuse_layers

        refuse_layers(world_id)
    with World.open(context, world_id) as world:
        return state, world.path


def refuse_alive(state: State, owner: str) -> None:
    """Raise `WorldStateError` while anybody but our own init is in a world."""
    if state.current_status == states.STOPPED:
        return
    others = [pid for pid in world_processes(state, owner) if pid != state.pid or not state.idle]
    if others:
        listed = ", ".join(map(str, others[:5]))
        message = f"processes of the world {state.world_id} still use its layers: {listed}"
        raise WorldStateError(message, f"substrate-runtime ps {state.world_id} shows them")


def refuse_squashed(stack: LayerStack, number: int) -> None:
    """Raise `RefusedError` when the layers of a number are one with later ones."""
    for layer in stack.layers():
        if number and layer.first <= number < layer.number:
            message = f"the layers up to number {layer.number} are one layer by now"
            raise RefusedError(message, "roll back to a later span, or with --all")


def _layer_of(stack: LayerStack, span_id: str) -> SpanLayer:
    for layer in stack.layers():
        if layer.span_id == span_id:
            return layer
    message = f"the span {span_id} has no layer of its own"
    raise WorldStateError(message, "it changed nothing, shared a layer, was accepted or dropped")
