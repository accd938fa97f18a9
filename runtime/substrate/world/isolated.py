"""Commands that a policy isolates: what they changed is accepted with an explicit yes only.

Each such span has a mark beside the records of spans, made before it begins.
"""

from __future__ import annotations

import os

from substrate.errors import SubstrateError
from substrate.filesystem.clashes import claims
from substrate.world.spans import OWN, read_record
from substrate.world.stack import check_span_id, read_layers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = "isolated"


def mark_isolated(data: str, span_id: str) -> None:
    """Mark a span that is about to begin; `data` is the world's data directory."""
    check_span_id(span_id)
    folder = os.path.join(data, FOLDER)
    os.makedirs(folder, 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(os.path.join(folder, span_id), flags, 0o600))


def unmark_isolated(data: str, span_id: str) -> None:
    """Take the mark of a span back that has not begun; without one nothing happens."""
    try:
        os.unlink(os.path.join(data, FOLDER, span_id))
    except FileNotFoundError:
        return


def has_isolated(data: str) -> bool:
    """Whether any span of a world is marked."""
    return os.path.isdir(os.path.join(data, FOLDER))


def isolated_paths(data: str, prefix: str) -> frozenset[str]:
    """Return what marked spans have changed; "" among it is everything.

    It is everything while the changes of one of them are not recorded. What processes that a span
    left behind have written after its record is in its layer; `prefix` as in `claims`.
    """
    found: set[str] = set()
    layers = {layer.span_id: layer for layer in read_layers(data)}
    for span_id in os.listdir(os.path.join(data, FOLDER)):
        try:
            told: dict[str, Any] = read_record(data, span_id)
        except SubstrateError:
            return frozenset(("",))
        changed = told.get("fs_diff")
        if changed is None or told["attribution"] != OWN:
            return frozenset(("",))
        if span_id in layers:
            upper = f"{data}/{layers[span_id].name}/upper"
            found.update(path for path, whole in claims(upper, prefix).items() if whole)
        for name in ("writes", "mods", "deletes", "meta"):
            found.update(changed[name])
        for pair in changed["renames"]:
            found.update(pair)
    return frozenset(found)
