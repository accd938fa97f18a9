"""A tolerant look at JSON for the checks: what has the wrong type reads as absent.

The schema and the parser complain about types; the checks only relate values that are there.
"""

from __future__ import annotations

from substrate.bundle.fields import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class View:
    """One JSON object, or an empty one in place of anything else, with its JSON path."""

    __slots__ = ("data", "path")

    def __init__(self, data: Any, path: str) -> None:
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}
        self.path = path

    def at(self, key: str) -> str:
        """Return the JSON path of a member."""
        return child(self.path, key)

    def has(self, key: str) -> bool:
        """Say whether a member is there and is not null."""
        return self.data.get(key) is not None

    def object(self, key: str) -> View:
        """Return the object at `key`."""
        return View(self.data.get(key), self.at(key))

    def objects(self, key: str) -> list[View]:
        """Return the objects of the array at `key`."""
        path = self.at(key)
        return [
            View(value, child(path, number))
            for number, value in enumerate(self._array(key))
            if isinstance(value, dict)
        ]

    def text(self, key: str) -> str:
        """Return the string at `key`, an empty one when there is none."""
        value = self.data.get(key)
        return value if isinstance(value, str) else ""

    def texts(self, key: str) -> list[tuple[str, str]]:
        """Return (JSON path, string) of each string in the array at `key`."""
        path = self.at(key)
        return [
            (child(path, number), value)
            for number, value in enumerate(self._array(key))
            if isinstance(value, str)
        ]

    def integer(self, key: str) -> int | None:
        """Return the integer at `key`."""
        value = self.data.get(key)
        return value if type(value) is int else None

    def _array(self, key: str) -> list[Any]:
        value = self.data.get(key)
        return value if isinstance(value, list) else []
