"""diff: what a world changed in its project, read from its layers; the world may be running."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError, UnsupportedError, UsageError
from substrate.filesystem.diff import Changes
from substrate.filesystem.entries import make_diff
from substrate.filesystem.index import index_path
from substrate.world.listing import read_state
from substrate.world.spans import OWN, read_record, recorded_diff
from substrate.world.stack import BASE_LAYER, SpanLayer, read_layers

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
    state = read_state(context, world_id)
    if state.layer is None:
        message = f"the world {world_id} has no layer: it has no project, or writes to it directly"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    if span_id is not None:
        found = span_diff(state, span_id)
    else:
        with world_changes(state) as changes:
            found = changes.diff
    at = state.layer.at
    return _only(found, [_relative(path, at) for path in paths]) if paths else found


def span_diff(state: State, span_id: str) -> FsDiff:
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
        return changes.diff


def world_changes(state: State) -> Changes:
    """Return the changes of all layers against the project, to be entered."""
    layers = read_layers(state.data)
    base = _upper(state, BASE_LAYER)
    uppers = [*(_upper(state, one) for one in reversed(layers)), base]
    # Under other layers the index of the lowest is out of use: see stack_options.
    return Changes(
        uppers, [_project(state)], _prefix(state), "" if layers else index_path(base, "")
    )


def layer_changes(state: State, layer: SpanLayer) -> Changes:
    """Return the changes of one layer against those below it, to be entered."""
    upper, project = _upper(state, layer), _project(state)
    if not layer.number:
        return Changes([upper], [project], _prefix(state), index_path(upper, ""))
    below = [one for one in read_layers(state.data) if one.number < layer.number]
    lowers = [_upper(state, one) for one in (*reversed(below), BASE_LAYER)]
    return Changes([upper], [*lowers, project], _prefix(state))


def _upper(state: State, layer: SpanLayer) -> str:
    return f"{state.data}/{layer.name}/upper"


def _prefix(state: State) -> str:
    assert state.layer is not None  # noqa: S101 -- the callers have looked
    return "user.overlay." if state.layer.userxattr else "trusted.overlay."


def _project(state: State) -> str:
    assert state.layer is not None  # noqa: S101 -- the callers have looked
    project = state.layer.project
    if not os.path.isdir(project):
        message = f"the project {project} is gone"
        raise SubstrateError(message, f"substrate-runtime delete {state.world_id}")
    return project


def _relative(path: str, at: str) -> str:
    relative = os.path.relpath(path, at) if os.path.isabs(path) else os.path.normpath(path)
    if relative == ".." or relative.startswith("../"):
        message = f"{path} is not in the project, which is {at} in the world"
        raise UsageError(message, "name paths relative to the project")
    return "" if relative == "." else relative


def _only(found: FsDiff, wanted: list[str]) -> FsDiff:
    """Return the changes at and below some paths; either end of a rename counts."""

    def is_wanted(path: str) -> bool:
        return any(not want or path == want or path.startswith(f"{want}/") for want in wanted)

    return make_diff(
        [entry for entry in found.entries if is_wanted(entry.path) or is_wanted(entry.origin)]
    )
