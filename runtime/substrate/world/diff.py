"""diff: what a world changed in its project, read from its layers; the world may be running."""

from __future__ import annotations

import os

from substrate.bundle.model import DiffSettings
from substrate.errors import SubstrateError, UnsupportedError, UsageError
from substrate.filesystem.diff import Changes
from substrate.filesystem.entries import make_diff
from substrate.filesystem.hashing import add_hashes, hash_of
from substrate.filesystem.index import index_path
from substrate.filesystem.room import no_room
from substrate.record import replace
from substrate.world.accepted import STORE, complete
from substrate.world.isolated import has_isolated, isolated_paths
from substrate.world.listing import read_state
from substrate.world.moved import was_told
from substrate.world.spans import OWN, read_record, recorded_diff
from substrate.world.stack import BASE_LAYER, LayerStack, SpanLayer, cover_of, read_layers
from substrate.world.store import World
from substrate.world.stored import stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config
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
    if has_isolated(state.data):
        from substrate.filesystem.named import mark_isolated

        found = mark_isolated(found, isolated_paths(state.data, _prefix(state)))
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


def diff_settings(config: Config) -> DiffSettings:
    """Return what the bundle says of diffs."""
    return DiffSettings() if config.substrate is None else config.substrate.diff


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


def span_diff(state: State, span_id: str, settings: DiffSettings | None = None) -> FsDiff:
    """Return what a span changed: as recorded at its end, else as its layer has it now."""
    found = recorded_diff(state.data, span_id)
    if found is not None:
        return found
    told = read_record(state.data, span_id)
    layer = next((one for one in read_layers(state.data) if one.span_id == span_id), None)
    if layer is None or told["attribution"] != OWN:
        message = f"what the span {span_id} changed is not known: its end was not recorded"
        raise SubstrateError(message, f"substrate-runtime diff {state.world_id}")
    with layer_changes(state, layer) as changes:
        if settings is None:
            return changes.diff
        return add_hashes(changes.diff, settings.hash, settings.small_file_limit)


def world_changes(state: State) -> Changes:
    """Return the changes of all layers against the project, to be entered."""
    if state.layer is not None and state.layer.copied:
        return _copy_changes(state)
    layers = read_layers(state.data)
    base = _upper(state, BASE_LAYER)
    uppers = [*(_upper(state, one) for one in reversed(layers)), base]
    # Under other layers the index of the lowest is out of use: see stack_options.
    # So is what covers denied paths without any: there masks do.
    cover = cover_of(state.data) if layers else []
    index = "" if layers else index_path(base, "")
    lowers = [*cover, _project(state)]
    return Changes(uppers, lowers, _prefix(state), index, _restored(state), covered=bool(cover))


def layer_changes(state: State, layer: SpanLayer) -> Changes:
    """Return the changes of one layer against those below it, to be entered."""
    if state.layer is not None and state.layer.copied:
        return _copy_changes(state)
    if not layer.number:
        return layer_alone(state, layer)
    upper, project = _upper(state, layer), _project(state)
    below = [one for one in read_layers(state.data) if one.number < layer.number]
    lowers = [_upper(state, one) for one in (*reversed(below), BASE_LAYER)]
    cover = cover_of(state.data)
    return Changes([upper], [*lowers, *cover, project], _prefix(state), covered=bool(cover))


def layer_alone(state: State, layer: SpanLayer) -> Changes:
    """Return the changes of a layer against the project, to be entered, as if there were no other.

    It is the world's own, or one over that when that is empty.
    """
    upper = _upper(state, layer)
    index = "" if layer.number else index_path(upper, "")
    cover = cover_of(state.data) if layer.number else []
    lowers = [*cover, _project(state)]
    return Changes([upper], lowers, _prefix(state), index, _restored(state), covered=bool(cover))


def _copy_changes(state: State) -> Changes:
    from substrate.world.copying import changes_of

    assert state.layer is not None  # noqa: S101 -- the callers have looked
    _project(state)
    return changes_of(state.layer)


def _layered(context: Context, world_id: str) -> State:
    state = read_state(context, world_id)
    if state.layer is None:
        message = f"the world {world_id} has no layer: it has no project, or writes to it directly"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    return state


def _upper(state: State, layer: SpanLayer) -> str:
    return f"{state.data}/{layer.name}/upper"


def _prefix(state: State) -> str:
    assert state.layer is not None  # noqa: S101 -- the callers have looked
    return state.layer.xattr_prefix


def _restored(state: State) -> dict[int, int]:
    """Return which files of the project an undo has restored from copies, and of what."""
    place = f"{state.data}/{STORE}"
    if not os.path.isdir(place):
        return {}
    from substrate.filesystem.known import read_copies

    return read_copies(place)


def _project(state: State) -> str:
    assert state.layer is not None  # noqa: S101 -- the callers have looked
    project = state.layer.project
    if not os.path.isdir(project):
        message = f"the project {project} is gone"
        raise SubstrateError(message, f"substrate-runtime delete {state.world_id}")
    return project


def relative_path(path: str, at: str) -> str:
    """Return a path of the project relative to it, "" for itself; raises `UsageError`."""
    relative = os.path.relpath(path, at) if os.path.isabs(path) else os.path.normpath(path)
    if relative == ".." or relative.startswith("../"):
        message = f"{path} is not in the project, which is {at} in the world"
        raise UsageError(message, "name paths relative to the project")
    return "" if relative == "." else relative


def only(found: FsDiff, wanted: list[str]) -> FsDiff:
    """Return the changes at and below some paths; either end of a rename counts.

    Raises `SubstrateError` for a path at which nothing was changed.
    """

    def is_at(path: str, want: str) -> bool:
        return not want or path == want or path.startswith(f"{want}/")

    for want in wanted:
        if not any(is_at(one.path, want) or is_at(one.origin, want) for one in found.entries):
            message = f"nothing was changed at {want or '.'}"
            raise SubstrateError(message, "name a path that `diff` lists, or a directory above it")
    entries = [
        entry
        for entry in found.entries
        if any(is_at(entry.path, want) or is_at(entry.origin, want) for want in wanted)
    ]
    part = make_diff(entries)
    return replace(part, tree_hash=hash_of(part.entries)) if found.tree_hash else part
