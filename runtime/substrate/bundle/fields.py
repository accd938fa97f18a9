"""Typed reading of one JSON object: each value is checked as it is taken, and faults name its path.

An absent key and `null` mean the same, because Go programs write an empty slice as `null`; so
does an empty string where the value is optional, as in Go's `omitempty`.
"""

from __future__ import annotations

from substrate.errors import BundleError
from substrate.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

INT64_MAX = (1 << 63) - 1
UINT32_MAX = (1 << 32) - 1
UINT64_MAX = (1 << 64) - 1
SHOWN_CHARACTERS = 60


def describe(value: object) -> str:
    """Say what a JSON value is in a few words: `the string "sh"`, `an array of 3`."""
    if isinstance(value, str):
        text = value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…"
        # dumps escapes control characters; an ellipsis is worth keeping readable.
        return "the string " + dumps(text).replace("\\u2026", "…")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "the boolean true", False: "the boolean false"}[value]
    if isinstance(value, (int, float)):
        # A very long integer cannot be printed (int_max_str_digits); none is meant seriously.
        small = isinstance(value, float) or abs(value) < 1 << 128
        return f"the number {value}" if small else "a very large number"
    if isinstance(value, (list, tuple)):
        return f"an array of {len(value)}"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def child(path: str, key: str | int) -> str:
    """Return the JSON path of a member or an element below `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key.isidentifier() and key.isascii():
        return f"{path}.{key}"
    return f"{path}[{dumps(key if len(key) <= SHOWN_CHARACTERS else key[:SHOWN_CHARACTERS])}]"


class Fields:
    """One JSON object with the path it was found at; raises `BundleError` on the first fault."""

    __slots__ = ("data", "file", "path")

    def __init__(self, data: Any, path: str, file: str) -> None:
        self.path = path
        self.file = file
        if not isinstance(data, dict):
            self.refuse("", "an object", data)
        self.data: dict[str, Any] = data

    def refuse(self, key: str, expected: str, value: object, number: int | None = None) -> NoReturn:
        """Raise the error for `key` (the object itself when empty), or for its element `number`."""
        path = child(self.path, key) if key else self.path
        if number is not None:
            path = child(path, number)
        raise BundleError([f"{self.file}: {path}: expected {expected}, got {describe(value)}"])

    def missing(self, key: str) -> NoReturn:
        """Raise the error for a required key that is not there."""
        raise BundleError([f"{self.file}: {self.path}: {key} is missing"])

    def only(self, known: tuple[str, ...]) -> None:
        """Refuse keys that are not in `known`."""
        for key in self.data:
            if key not in known:
                words = ", ".join(known)
                path = child(self.path, key)
                raise BundleError([f"{self.file}: {path}: unknown key; expected one of {words}"])

    def text(self, key: str) -> str:
        """Return a required string."""
        value = self.data.get(key)
        if value is None:
            self.missing(key)
        if not isinstance(value, str):
            self.refuse(key, "a string", value)
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None when it is absent or empty."""
        return self.text(key) or None if self.data.get(key) is not None else None

    def word(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Return one word out of `allowed`; required when there is no default."""
        if default is not None and self.data.get(key) is None:
            return default
        value = self.text(key)
        if value not in allowed:
            self.refuse(key, "one of " + ", ".join(allowed), value)
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a boolean."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(key, "a boolean", value)
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Return a required integer between `low` and `high`, both included."""
        value = self.data.get(key)
        if value is None:
            self.missing(key)
        return self._integer(key, value, low, high)

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """Return an integer between `low` and `high`, or None when it is absent."""
        value = self.data.get(key)
        return None if value is None else self._integer(key, value, low, high)

    def optional_number(self, key: str, above: float, high: float) -> float | None:
        """Return a number greater than `above` and at most `high`, or None when it is absent."""
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(key, "a number", value)
        if not above < value <= high:
            self.refuse(key, f"a number above {above:g} and at most {high:g}", value)
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return an array of strings."""
        values = self._array(key)
        for number, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(key, "a string", value, number)
        return tuple(values)

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Return an array of integers between `low` and `high`."""
        values = self._array(key)
        for number, value in enumerate(values):
            if type(value) is not int or not low <= value <= high:
                self.refuse(key, f"an integer from {low} to {high}", value, number)
        return tuple(values)

    def object(self, key: str) -> Fields | None:
        """Return the object at `key`, or None when it is absent."""
        value = self.data.get(key)
        return None if value is None else Fields(value, child(self.path, key), self.file)

    def objects(self, key: str) -> tuple[Fields, ...]:
        """Return the array of objects at `key`."""
        path = child(self.path, key)
        return tuple(
            Fields(value, child(path, number), self.file)
            for number, value in enumerate(self._array(key))
        )

    def raw(self, key: str) -> dict[str, Any] | None:
        """Return the object at `key` as it is, for the room that reads it itself."""
        value = self.object(key)
        return None if value is None else value.data

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return an object of strings as pairs, in the order of the file; `null` reads as empty."""
        inner = self.object(key)
        if inner is None:
            return ()
        return tuple((name, inner.optional_text(name) or "") for name in inner.data)

    def _array(self, key: str) -> list[Any]:
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(key, "an array", value)
        return value

    def _integer(self, key: str, value: Any, low: int, high: int) -> int:
        # type(), not isinstance(): a boolean is an int in Python and is none in JSON.
        if type(value) is not int:
            self.refuse(key, "an integer", value)
        if not low <= value <= high:
            self.refuse(key, f"an integer from {low} to {high}", value)
        return value
