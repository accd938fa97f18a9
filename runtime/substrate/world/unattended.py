"""Spans whose end nobody waits for: detached ones, and those whose runtime was killed.

Their changes are recorded by the next who comes by once nobody can write to their layer any more:
a command, a diff, whoever changes the stack, or gc. Until then a detached span has a file here,
with what its layer had changed before if it shares the layer of another.
"""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.world.span import Span, leave_span
from substrate.world.spans import OWN, SHARED, has_record
from substrate.world.stack import BASE_LAYER, SQUASHED
from substrate.world.state import STOPPED
from substrate.world.store import CONFIG_FILE
from substrate.world.stored import diff_settings
from substrate.world.writers import nobody_writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.bundle.model import DiffSettings
    from substrate.filesystem.keptlook import KeptLook
    from substrate.world.stack import LayerStack, SpanLayer
    from substrate.world.state import State

FOLDER = "unattended"
# In the directory of a layer that later spans wrote to as well.
JOINED_FILE = "joined"


def begin_unattended(state: State, span: Span) -> None:
    """Keep what its record needs of a span that nobody will wait for, before it runs."""
    from substrate.filesystem.between import Look
    from substrate.filesystem.keptlook import look_to_json

    before = span.before
    told = {
        "span": span.span_id,
        "session": span.session,
        "layer": span.layer.number,
        "attribution": span.attribution,
        "before": look_to_json(before) if isinstance(before, Look) else None,
    }
    folder = f"{state.data}/{FOLDER}"
    os.makedirs(folder, 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(f"{folder}/.{span.span_id}", flags, 0o600), "wb") as file:
        file.write(jsontext.dumps(told).encode())
    os.rename(f"{folder}/.{span.span_id}", f"{folder}/{span.span_id}.json")


def has_unrecorded(data: str, layers: list[SpanLayer]) -> bool:
    """Whether there may be anything to record: of detached spans, or of the topmost layer."""
    if os.path.lexists(f"{data}/{FOLDER}"):
        return True
    return bool(layers) and not has_record(data, layers[-1].span_id)


def record_all(state: State, owner: str, stack: LayerStack) -> None:
    """Record what has ended without a record; the stack is locked. `owner` is as for `exec`."""
    layers = stack.layers()
    if _is_complete(state.data, layers):
        return
    rests = state.current_status == STOPPED or nobody_writes(state, owner)
    record_ended(state, owner, layers, rests=rests)


def record_ended(state: State, owner: str, layers: list[SpanLayer], *, rests: bool) -> None:
    """Record all spans of these layers, which are all there are, that have no record yet.

    `rests`: nobody can write to the topmost one; to those below nobody can in any case. The caller
    holds the lock of the stack.
    """
    if _is_complete(state.data, layers):
        return
    settings = _settings(owner)
    top = layers[-1] if layers else BASE_LAYER
    by_number = {layer.number: layer for layer in (BASE_LAYER, *layers)}
    known: dict[str, dict[str, Any]] = {}
    for told in _detached(state.data):
        layer = by_number.get(told["layer"])
        if layer is None or (layer is top and not rests):
            continue
        known[told["span"]] = told
        if told["attribution"] == SHARED:
            span = Span(told["span"], told["session"], layer, SHARED, _look(told))
            leave_span(state, span, settings)
            _forget(state.data, told["span"])
    for layer in layers:
        if (layer is top and not rests) or layer.span_id.startswith(SQUASHED):
            continue
        if not has_record(state.data, layer.span_id):
            session = known.get(layer.span_id, {}).get("session", "")
            joined = os.path.lexists(f"{state.data}/{layer.name}/{JOINED_FILE}")
            span = Span(layer.span_id, session, layer, SHARED if joined else OWN, None)
            leave_span(state, span, settings)
        if layer.span_id in known:
            _forget(state.data, layer.span_id)


def _is_complete(data: str, layers: list[SpanLayer]) -> bool:
    return not os.path.lexists(f"{data}/{FOLDER}") and all(
        has_record(data, layer.span_id) or layer.span_id.startswith(SQUASHED) for layer in layers
    )


def _settings(owner: str) -> DiffSettings:
    from substrate.bundle.model import parse_config

    with open(f"{owner}/{CONFIG_FILE}", "rb") as file:
        return diff_settings(parse_config(jsontext.loads(file.read())))


def note_joined(data: str, layer: SpanLayer) -> None:
    """Keep that a layer is no longer that of one span alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(f"{data}/{layer.name}/{JOINED_FILE}", flags, 0o600))


def _detached(data: str) -> list[dict[str, Any]]:
    folder = f"{data}/{FOLDER}"
    found: list[dict[str, Any]] = []
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return found
    for name in names:
        if name.endswith(".json"):
            with open(f"{folder}/{name}", "rb") as file:
                found.append(jsontext.loads(file.read()))
    return found


def _look(told: dict[str, Any]) -> KeptLook | None:
    from substrate.filesystem.keptlook import KeptLook

    return None if told["before"] is None else KeptLook(told["before"])


def _forget(data: str, span_id: str) -> None:
    try:
        os.unlink(f"{data}/{FOLDER}/{span_id}.json")
        os.rmdir(f"{data}/{FOLDER}")
    except OSError:
        # Others are waiting still.
        return
