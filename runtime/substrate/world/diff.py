"""diff: what a world changed in its project, read from its layers; the world may be running."""

from __future__ import annotations

from substrate.errors import SubstrateError, UnsupportedError
from substrate.filesystem.hashing import add_hashes
from substrate.filesystem.room import no_room
from substrate.world.changes import layer_changes, span_diff, world_changes
from substrate.world.completing import complete
from substrate.world.isolated import has_isolated, isolated_paths
from substrate.world.listing import read_state
from substrate.world.moved import was_told
from substrate.world.parts import only, relative_path
from substrate.world.spans import OWN, read_record
from substrate.world.stack import LayerStack, read_layers
from substrate.world.store import World
from substrate.world.stored import diff_settings, stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from substrate.world.context import Context
    from substrate.world.state import State


def diff(
    context: Context, world_id: str, paths: tuple[str, ...] = (), span_id: str | None = None
) -> FsDiff:
    """Return the changes of a world or of one of its spans, of `paths` and what is in them if any.

    A path is relative to the project, or absolute in the world. Raises `UnsupportedError` when
    the world keeps no changes, `SubstrateError` when it has no such span.
    """
    state = _layered(context, world_id)
    assert state.layer is not None  # noqa: S101 -- _layered has looked
    with World.open(context, world_id) as world:
        settings = diff_settings(stored_config(world))
    if span_id is not None:
        _record_ended(context, state)
        found = span_diff(state, span_id, settings)
    else:
        complete(context, state)
        _follow_moves(context, state)
        with world_changes(state) as changes:
            found = add_hashes(changes.diff, settings.hash, settings.small_file_limit)
    at = state.layer.at
    found = marked(found, context, state)
    return only(found, [relative_path(path, at) for path in paths]) if paths else found


def marked(found: FsDiff, context: Context, state: State) -> FsDiff:
    """Return a diff marked by what the world's configuration and policy say of its changes."""
    with World.open(context, state.world_id) as world:
        extension = stored_config(world).substrate
    project = None if extension is None else extension.project
    if project is not None and (project.risky or project.readonly or project.deny):
        from substrate.filesystem.named import mark_named

        found = mark_named(found, project.risky, project.readonly, project.deny)
    if state.layer is not None and has_isolated(state.data):
        from substrate.filesystem.named import mark_isolated

        found = mark_isolated(found, isolated_paths(state.data, state.layer.xattr_prefix))
    return found


def patch(
    context: Context, world_id: str, paths: tuple[str, ...] = (), span_id: str | None = None
) -> list[str]:
    """Return the changes as the lines of a patch; see `filesystem/patch.py` for the form.

    Raises what `diff` raises, and `SubstrateError` for a span without a layer of its own.
    """
    from substrate.filesystem.patch import patch_lines

    state = _layered(context, world_id)
    assert state.layer is not None  # noqa: S101 -- _layered has looked
    if span_id is None:
        changes = world_changes(state)
    else:
        own = read_record(state.data, span_id)["attribution"] == OWN
        layer = next((one for one in read_layers(state.data) if one.span_id == span_id), None)
        if layer is None and own and span_diff(state, span_id).empty:
            return []
        if layer is None or not own:
            message = (
                f"the files of span {span_id} are not there: it shared a layer, was accepted"
                " or dropped"
            )
            raise SubstrateError(message, f"substrate-runtime diff --span {span_id} {world_id}")
        changes = layer_changes(state, layer)
    at = state.layer.at
    with changes:
        found = changes.diff
        if paths:
            found = only(found, [relative_path(path, at) for path in paths])
        return list(patch_lines(found))


def most_entries(context: Context, world_id: str) -> int:
    """Return how many entries of a world's diffs are shown unless somebody asks for more."""
    with World.open(context, world_id) as world:
        return diff_settings(stored_config(world)).max_entries


def _follow_moves(context: Context, state: State) -> None:
    """Show a project in which another world has moved something as the layers mean it."""
    if was_told(state.data):
        from substrate.world.changing import Changing

        with Changing(context, state.world_id, lambda _: None):
            return


def _record_ended(context: Context, state: State) -> None:
    """Record the spans that have ended and nobody waited for."""
    from substrate.world.unattended import has_unrecorded, record_all

    assert state.layer is not None  # noqa: S101 -- the callers have looked
    if not has_unrecorded(state.data, read_layers(state.data)):
        return
    with World.open(context, state.world_id) as world:
        owner = world.path
    with LayerStack(state.layer, state.data) as stack:
        try:
            record_all(state, owner, stack)
        except OSError as error:
            # Without room they are shown all the same, and recorded by a later call.
            if no_room(error, "recording spans") is None:
                raise


def _layered(context: Context, world_id: str) -> State:
    state = read_state(context, world_id)
    if state.layer is None:
        message = f"the world {world_id} has no layer: it has no project, or writes to it directly"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    return state
