"""From the text of a policy file to checked values, every fault with its line.

The rules are those of `schemas/policy.schema.json`, and some that a schema cannot say; a test
holds both to the same answers.
"""

from __future__ import annotations

import re

from substrate.errors import PolicyError
from substrate.policy.keys import (
    COUNT,
    GROUPS,
    KEYS,
    LIST,
    MOST_ENTRIES,
    NUMBER,
    SECONDS,
    SIZE,
    WORD,
    Key,
)
from substrate.policy.provenance import PROJECT, Source, Sourced
from substrate.policy.yamltext import Node, read_yaml
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SIZE = re.compile(r"([0-9]{1,15})([KMGT])")
_SECONDS = re.compile(r"([0-9]{1,9})([smhd])")
_FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EXPECTED = {
    LIST: "a list of strings, or {replace: [...]}",
    SIZE: "a number of bytes, or one with K, M, G or T",
    SECONDS: "a number of seconds, or one with s, m, h or d",
    COUNT: "a whole number",
    NUMBER: "a number",
}


@record
class Setting:
    """What one file says about one key: `value` of a scalar, `entries` of a list."""

    source: Source
    value: Any = None
    entries: tuple[Sourced, ...] | None = None
    # The list stands in place of what weaker files say, instead of adding to it.
    replaces: bool = False


def check_policy(text: bytes, layer: str, file: str) -> dict[str, Setting]:
    """Return the settings of one policy file by key; `PolicyError` lists every fault."""
    checking = _Checking(layer, file)
    settings = checking.settings(read_yaml(text, file))
    if checking.problems:
        raise PolicyError(checking.problems, "substrate policy show --explain")
    return settings


class _Checking:
    def __init__(self, layer: str, file: str) -> None:
        self._layer = layer
        self._file = file
        self.problems: list[str] = []

    def settings(self, root: Node) -> dict[str, Setting]:
        if root.value is None:
            return {}
        found: dict[str, Setting] = {}
        for path, node in self._members(root, "$", ""):
            key = KEYS[path]
            setting = self._setting(path, key, node)
            if setting is not None:
                found[path] = setting
        return found

    def _members(self, node: Node, at: str, prefix: str) -> Iterator[tuple[str, Node]]:
        """Yield the keys of the table that a mapping has, descending into groups."""
        if not isinstance(node.value, dict):
            self._fault(node.line, at, f"a mapping expected, not {_described(node.value)}")
            return
        for name, value in node.value.items():
            path = f"{prefix}{name}"
            if not prefix and name in GROUPS:
                if value.value is not None:
                    yield from self._members(value, f"{at}.{name}", f"{name}.")
            elif path in KEYS:
                yield path, value
            else:
                known = [key[len(prefix) :] for key in KEYS if key.startswith(prefix)]
                names = dict.fromkeys(key.partition(".")[0] for key in known)
                self._fault(value.line, f"{at}.{name}", f"unknown; one of {', '.join(names)}")

    def _setting(self, path: str, key: Key, node: Node) -> Setting | None:
        at = f"$.{path}"
        source = Source(self._layer, self._file, at, node.line)
        if key.tighter is None and self._layer == PROJECT:
            self._fault(node.line, at, "a project cannot trust itself; belongs in your own policy")
            return None
        if key.kind == LIST:
            return self._list(key, node, source)
        value = _scalar(key, node.value)
        if value is None:
            expected = _expected(key)
            self._fault(node.line, at, f"{expected} expected, not {_described(node.value)}")
            return None
        return Setting(source, value)

    def _list(self, key: Key, node: Node, source: Source) -> Setting | None:
        items, at, replaces = node, source.path, False
        if isinstance(node.value, dict) and list(node.value) == ["replace"]:
            items, at, replaces = node.value["replace"], f"{source.path}.replace", True
        if not isinstance(items.value, list):
            self._fault(items.line, at, f"{_EXPECTED[LIST]} expected")
            return None
        if len(items.value) > MOST_ENTRIES:
            self._fault(items.line, at, f"more than {MOST_ENTRIES} entries")
            return None
        entries: list[Sourced] = []
        for number, item in enumerate(items.value):
            where = f"{at}[{number}]"
            if not isinstance(item.value, str):
                self._fault(item.line, where, f"a string expected, not {_described(item.value)}")
            elif fault := key.fault(item.value):
                self._fault(item.line, where, f"{_described(item.value)}: {fault}")
            else:
                place = Source(self._layer, self._file, where, item.line)
                entries.append(Sourced(item.value, place))
        return Setting(source, None, tuple(entries), replaces)

    def _fault(self, line: int, at: str, reason: str) -> None:
        self.problems.append(f"{self._file}:{line}: {at}: {reason}")


def _scalar(key: Key, value: Any) -> Any:
    """Return the value in the key's unit, None when it does not fit."""
    if key.kind == WORD:
        return value if isinstance(value, str) and value in key.words else None
    if isinstance(value, str):
        value = _with_unit(key.kind, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if key.kind == NUMBER:
        return value if 0 < value <= key.most else None
    whole = isinstance(value, int) or key.kind == SECONDS
    return value if whole and key.least <= value <= key.most else None


def _with_unit(kind: str, text: str) -> int | None:
    pattern, units = {SIZE: (_SIZE, _FACTORS), SECONDS: (_SECONDS, _UNITS_S)}.get(kind, (None, {}))
    found = pattern.fullmatch(text) if pattern is not None else None
    return None if found is None else int(found.group(1)) * units[found.group(2)]


def _expected(key: Key) -> str:
    if key.kind == WORD:
        return " or ".join(key.words)
    if key.kind == NUMBER:
        return f"a number above 0, at most {key.most}"
    return f"{_EXPECTED[key.kind]}, from {key.least} to {key.most},"


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = "null" if value is None else ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
