"""YAML read strictly, with the line of every value.

PyYAML's event stream is used and none of its constructors: nothing in a file can make an object.
Anchors, aliases, tags and second documents are refused, so a file is as large as it looks, and
so are duplicate keys. Plain scalars are read as the core schema of YAML 1.2 has it: `no`, `on`
and `12:30` are strings.
"""

from __future__ import annotations

import re

from substrate.errors import PolicyError
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LARGEST_BYTES = 256 * 1024
DEEPEST = 10
MOST_VALUES = 20_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@record
class Node:
    """A value and its line; of a mapping and a list the values are nodes again."""

    value: Any
    line: int

    def plain(self) -> Any:
        """Return the value without the lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def read_yaml(text: bytes, file: str) -> Node:
    """Return the value of a YAML text; `PolicyError` with the line when it is none."""
    # Here: a session without policy files of its own needs no YAML.
    import yaml

    if len(text) > LARGEST_BYTES:
        raise PolicyError([f"{file}: larger than {LARGEST_BYTES >> 10} KiB"])
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError([f"{file}: byte {error.start}: not UTF-8"]) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Reader(yaml.parse(decoded, Loader=loader), file).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f"{mark.line + 1}: "
        raise PolicyError([f"{file}:{line}{error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise PolicyError([f"{file}: {str(error).splitlines()[0]}"]) from None


class _Reader:
    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events = events
        self._file = file
        self._values = 0

    def document(self) -> Node:
        found: Node | None = None
        for event in self._events:
            kind = type(event).__name__
            if kind in {"StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"}:
                continue
            if kind == "DocumentStartEvent":
                if found is not None:
                    self._refuse(event, "a second document")
                continue
            found = self._node(event, 0)
        return Node({}, 1) if found is None else found

    def _node(self, event: Any, depth: int) -> Node:
        self._values += 1
        if depth > DEEPEST or self._values > MOST_VALUES:
            self._refuse(event, "nested too deeply, or too many values")
        kind = type(event).__name__
        if kind == "AliasEvent" or event.anchor is not None:
            self._refuse(event, "anchors and aliases are not used in a policy")
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag} is not used in a policy")
        line = event.start_mark.line + 1
        if kind == "ScalarEvent":
            return Node(_scalar(event.value) if event.implicit[0] else event.value, line)
        if kind == "SequenceStartEvent":
            return Node(list(self._items(depth)), line)
        return Node(self._members(depth), line)

    def _items(self, depth: int) -> Iterator[Node]:
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            yield self._node(event, depth + 1)

    def _members(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(event, depth + 1).value
            if not isinstance(key, str):
                self._refuse(event, "a key that is no string")
            if key in found:
                self._refuse(event, f"the key {key!r} is there twice")
            found[key] = self._node(next(self._events), depth + 1)
        return found

    def _refuse(self, event: Any, reason: str) -> Any:
        raise PolicyError([f"{self._file}:{event.start_mark.line + 1}: {reason}"])


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
