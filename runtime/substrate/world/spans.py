"""What is kept of each span below the world's data directory: `spans/ID.json`, all it changed.

The record outlives the layer: dropped and squashed layers leave it as it is.
"""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.errors import SubstrateError, WorldStateError
from substrate.kernel.blanks import make_blank, take_blank
from substrate.world.stack import check_span_id, read_layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.filesystem.entries import FsDiff
    from substrate.world.stack import SpanLayer

SPANS = "spans"
# A command that is no span and has a layer all the same is this and a number.
UNNAMED = "exec"
# Whether a span had its layer for itself.
OWN, SHARED = "own", "shared"


def check_unknown(data: str, span_id: str, layers: list[SpanLayer]) -> None:
    """Raise `WorldStateError` when there is a span of that id."""
    taken = any(layer.span_id == span_id for layer in layers)
    if taken or os.path.lexists(_path(data, span_id)):
        message = f"there is a span {span_id} already"
        raise WorldStateError(message, "every span needs an id of its own")


def free_id(data: str, number: int) -> str:
    """Return an id for a span that nobody named, with the first number that is free."""
    while os.path.lexists(_path(data, f"{UNNAMED}-{number}")):
        number += 1
    return f"{UNNAMED}-{number}"


def claim(data: str, names: tuple[str, str], layer: int, attribution: str) -> None:
    """Record that a span has begun that has no layer to be known by."""
    span_id, session = names
    begun = {"span": span_id, "session": session, "layer": layer, "attribution": attribution}
    _write(data, span_id, jsontext.dumps(begun))


def record_diff(data: str, span_id: str, facts: dict[str, Any], diff: FsDiff) -> None:
    """Record all that a span changed, and these facts about it."""
    told = {"span": span_id, **facts, "fs_diff": diff.to_json(touched=True)}
    _write(data, span_id, jsontext.dumps_line(told))


def read_record(data: str, span_id: str) -> dict[str, Any]:
    """Return what is known of a span; raises `SubstrateError` when it is nothing."""
    check_span_id(span_id)
    try:
        with open(_path(data, span_id), "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        for layer in read_layers(data):
            if layer.span_id == span_id:
                # It runs, or its end was not recorded.
                return {"span": span_id, "layer": layer.number, "attribution": OWN}
        message = f"there is no span {span_id} in this world"
        raise SubstrateError(message) from None
    told: dict[str, Any] = jsontext.loads(raw)
    return told


def recorded_spans(data: str) -> list[str]:
    """Return the ids of the spans of which anything is recorded."""
    try:
        names = os.listdir(f"{data}/{SPANS}")
    except FileNotFoundError:
        return []
    ids = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [name for name in ids if not name.startswith(".") and not is_unnamed(name)]


def has_record(data: str, span_id: str) -> bool:
    """Whether anything is recorded of a span."""
    return os.path.lexists(_path(data, span_id))


def recorded_ns(data: str, span_id: str) -> int:
    """Return when what is known of a span was written, in nanoseconds since 1970."""
    return os.stat(_path(data, span_id)).st_mtime_ns


def is_over(data: str, span_id: str) -> bool:
    """Whether nobody will ask what is in a span's layer: its end is on record, or it had no name.

    The latter may still run.
    """
    return is_unnamed(span_id) or has_record(data, span_id)


def is_unnamed(span_id: str) -> bool:
    """Whether an id is of a command that is no span."""
    word, _, number = span_id.partition("-")
    return word == UNNAMED and number.isdigit()


def recorded_diff(data: str, span_id: str) -> FsDiff | None:
    """Return what a span changed as it was recorded; None while that was not done."""
    from substrate.filesystem.recorded import from_json

    told = read_record(data, span_id).get("fs_diff")
    return None if told is None else from_json(told)


def prepare(data: str) -> None:
    """Make ready what the record of a span to come takes, while nobody waits."""
    make_blank(f"{data}/{SPANS}")


def _path(data: str, span_id: str) -> str:
    return f"{data}/{SPANS}/{span_id}.json"


def _write(data: str, span_id: str, text: str) -> None:
    path = _path(data, span_id)
    name = f".{span_id}.new"
    temporary = f"{data}/{SPANS}/{name}"
    take_blank(f"{data}/{SPANS}", name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(temporary, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(f"{data}/{SPANS}", 0o700, exist_ok=True)
        fd = os.open(temporary, flags, 0o600)
    with open(fd, "wb") as file:
        file.write(text.encode())
    os.rename(temporary, path)
