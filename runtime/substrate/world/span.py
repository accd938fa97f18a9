"""A span: a command whose changes to the project are a layer of their own.

Where its processes begin is in `beginning.py`; what it changed is found and kept here, at its end.
"""

from __future__ import annotations

from substrate.record import record
from substrate.world.spans import is_unnamed, record_diff
from substrate.world.stack import BASE_LAYER, LayerStack, read_layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import DiffSettings
    from substrate.filesystem.between import Look
    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.keptlook import KeptLook
    from substrate.world.stack import SpanLayer
    from substrate.world.state import State


@record
class Span:
    """A span that has begun: the layer it writes to, and whether others do too.

    `before` is what the layer had changed when the span began, of a shared one.
    """

    span_id: str
    session: str
    layer: SpanLayer
    attribution: str
    before: Look | KeptLook | None


def leave_span(
    state: State, span: Span, settings: DiffSettings | None = None, **facts: object
) -> FsDiff:
    """Return what a span changed, and keep it under its id with these facts.

    Files are hashed as `settings`, by default not at all.
    """
    found = _changes_of(state, span, settings)
    known = {
        "session": span.session,
        "layer": span.layer.number,
        "attribution": span.attribution,
    }
    record_diff(state.data, span.span_id, known | facts, found)
    return found


def _is_unchanged(state: State, span: Span) -> bool:
    """Whether a span has left its layer as it was made, so that nothing of it need be read."""
    if span.before is not None or state.layer is None:
        return False
    below = [one for one in read_layers(state.data) if one.number < span.layer.number]
    stack = LayerStack(state.layer, state.data)
    try:
        return stack.is_empty(span.layer, below[-1] if below else BASE_LAYER)
    except FileNotFoundError:
        # The next command has taken it away, which was empty and at rest: see `is_over`.
        if is_unnamed(span.span_id):
            return True
        raise


def _changes_of(state: State, span: Span, settings: DiffSettings | None) -> FsDiff:
    if _is_unchanged(state, span):
        from substrate.filesystem.entries import make_diff

        return _hashed(make_diff([]), settings)
    from substrate.world.changes import layer_changes

    with layer_changes(state, span.layer) as changes:
        found = changes.diff
        if span.before is not None:
            from substrate.filesystem.between import Look, between

            found = between(span.before, Look(changes))
        return _hashed(found, settings)


def _hashed(found: FsDiff, settings: DiffSettings | None) -> FsDiff:
    if settings is None:
        return found
    from substrate.filesystem.hashing import add_hashes

    return add_hashes(found, settings.hash, settings.small_file_limit)
