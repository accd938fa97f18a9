"""Commands that a policy isolates: what they changed is accepted with an explicit yes only.

Each such span has a mark beside the records of spans, made before it begins.
"""

from __future__ import annotations

import os

from substrate.errors import SubstrateError
from substrate.world.spans import read_record
from substrate.world.stack import check_span_id

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


def has_isolated(data: str) -> bool:
    """Whether any span of a world is marked."""
    return os.path.isdir(os.path.join(data, FOLDER))


def isolated_paths(data: str) -> frozenset[str]:
    """Return what marked spans have changed; "" among it is everything.

    It is everything while the changes of one of them are not recorded.
    """
    found: set[str] = set()
    for span_id in os.listdir(os.path.join(data, FOLDER)):
        try:
            told: dict[str, Any] = read_record(data, span_id)
        except SubstrateError:
            continue  # it never began
        changed = told.get("fs_diff")
        if changed is None:
            return frozenset(("",))
        for name in ("writes", "mods", "deletes", "meta"):
            found.update(changed[name])
        for pair in changed["renames"]:
            found.update(pair)
    return frozenset(found)
