"""The changes of a world, of one of its layers or spans, opened from its layers as they are."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError
from substrate.filesystem.diff import Changes
from substrate.filesystem.hashing import add_hashes
from substrate.filesystem.index import index_path
from substrate.world.accepted import STORE
from substrate.world.spans import OWN, read_record, recorded_diff
from substrate.world.stack import BASE_LAYER, cover_of, read_layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import DiffSettings
    from substrate.filesystem.entries import FsDiff
    from substrate.world.stack import SpanLayer
    from substrate.world.state import State


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
    lowers += [*cover, project]
    return Changes([upper], lowers, _prefix(state), "", _restored(state), covered=bool(cover))


def layer_alone(state: State, layer: SpanLayer) -> Changes:
    """Return the changes of a layer against the project, to be entered, as if there were no other.

    It is the world's own, or one over that when that is empty.
    """
    upper = _upper(state, layer)
    index = "" if layer.number else index_path(upper, "")
    cover = cover_of(state.data) if layer.number else []
    lowers = [*cover, _project(state)]
    return Changes([upper], lowers, _prefix(state), index, _restored(state), covered=bool(cover))


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


def _copy_changes(state: State) -> Changes:
    from substrate.world.copying import changes_of

    assert state.layer is not None  # noqa: S101 -- the callers have looked
    _project(state)
    return changes_of(state.layer)


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
