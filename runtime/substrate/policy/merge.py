"""Several files into one policy, weakest first, with the source of every value.

A file of the person or the machine says what it likes: a list adds to the weaker ones, `replace`
takes their place, a scalar wins. A project's file may have been written by the very program that
is to be held: it can only tighten, unless the person's own policy names its digest.
"""

from __future__ import annotations

from substrate.policy.entries import common
from substrate.policy.keys import FEWER, KEYS, LATER, LIST, MORE, Key
from substrate.policy.provenance import Refused, Source, Sourced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from substrate.policy.checks import Setting

# A project's own list of allowed commands: a command must be on both.
ALSO_ALLOWED = "cmd_allowed.project"


class Merge:
    """A policy in the making: by key a `Sourced` scalar or a tuple of `Sourced` entries."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.refused: list[Refused] = []

    def add(self, settings: Mapping[str, Setting], tighten_only: bool = False) -> None:
        """Lay a stronger file's settings over what is there."""
        for path, setting in settings.items():
            key = KEYS[path]
            if tighten_only:
                self._tighten(path, key, setting)
            elif key.kind != LIST:
                self.values[path] = Sourced(setting.value, setting.source)
            else:
                below = () if setting.replaces else self.values.get(path) or ()
                self.values[path] = _joined(below, setting.entries or ())

    def _tighten(self, path: str, key: Key, setting: Setting) -> None:
        if key.kind != LIST:
            self._tighten_scalar(path, key, setting)
            return
        entries = setting.entries or ()
        if key.tighter == MORE:
            if setting.replaces and self.values.get(path):
                self._refuse("replace", setting.source, "it would take entries away")
            self.values[path] = _joined(self.values.get(path) or (), entries)
        elif path == "cmd_allowed":
            self.values[ALSO_ALLOWED] = entries
        elif key.tighter == FEWER:
            self.values[path] = self._fewer(key, self.values.get(path) or (), entries)

    def _fewer(
        self, key: Key, there: tuple[Sourced, ...], entries: tuple[Sourced, ...]
    ) -> tuple[Sourced, ...]:
        """Return of what is asked for what is allowed already, and of that the narrower."""
        allowed = {entry.value: entry for entry in there}
        asked = {entry.value: entry for entry in entries}
        both = common(allowed, asked, key.covers)
        for value, entry in asked.items():
            if not common(allowed, (value,), key.covers):
                self._refuse(value, entry.source, "your own policy does not allow it")
        return tuple(asked.get(value) or allowed[value] for value in both)

    def _tighten_scalar(self, path: str, key: Key, setting: Setting) -> None:
        there = self.values.get(path)
        if there is not None and _looser(key, setting.value, there.value):
            self._refuse(
                setting.value, setting.source, f"looser than {there.value} of {there.source}"
            )
            return
        self.values[path] = Sourced(setting.value, setting.source)

    def _refuse(self, value: Any, source: Source, reason: str) -> None:
        self.refused.append(Refused(value, source, f"a project can only tighten: {reason}"))


def _looser(key: Key, value: Any, there: Any) -> bool:
    if key.tighter == LATER:
        return key.words.index(value) < key.words.index(there)
    return bool(value > there)


def _joined(below: tuple[Sourced, ...], above: tuple[Sourced, ...]) -> tuple[Sourced, ...]:
    """Return both lists, of entries that are there twice the one further below."""
    found: dict[str, Sourced] = {}
    for entry in (*below, *above):
        found.setdefault(entry.value, entry)
    return tuple(found.values())
