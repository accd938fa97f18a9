"""A look at a layer, kept on disk for whoever takes the next one, which may be another process."""

from __future__ import annotations

from substrate.filesystem.between import by_path
from substrate.filesystem.recorded import from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.filesystem.between import Look


class KeptLook:
    """What `between` needs of an earlier look."""

    def __init__(self, kept: dict[str, Any]) -> None:
        """Take what `look_to_json` has made."""
        diff = from_json(kept["diff"])
        self.entries, self.left = by_path(diff)
        self.identities: dict[str, tuple[object, ...]] = {
            entry.path: _as_tuples(identity)
            for entry, identity in zip(diff.entries, kept["identities"], strict=True)
            if identity is not None
        }


def look_to_json(look: Look) -> dict[str, Any]:
    """Return a look as JSON has it."""
    return {
        "diff": look.diff.to_json(touched=True),
        "identities": [look.identities.get(entry.path) for entry in look.diff.entries],
    }


def _as_tuples(value: list[Any]) -> tuple[object, ...]:
    return tuple(_as_tuple(part) for part in value)


def _as_tuple(part: list[Any] | str | int | None) -> object:
    return tuple(part) if isinstance(part, list) else part
