"""Reading the options in front of a wrapped command."""

from __future__ import annotations

import re

from substrate.policy.syntax import UNKNOWN, Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.policy.wrappers import Prefix

_NUMBER = re.compile(r"-{1,2}[0-9]+")


class OptionReader:
    """The options of one call of a wrapper; `rest` is what follows them.

    `understood` is false when an option is not in the table, or only the shell knows a word.
    """

    def __init__(self, prefix: Prefix, words: tuple[Word, ...]) -> None:
        self._prefix = prefix
        self._given: list[tuple[str, Word | None]] = []
        self.understood = True
        self.rest = words
        operands: list[Word] = []
        while self.understood and self.rest:
            if self._read_one():
                continue
            if not prefix.permutes or not self.rest or not self.understood:
                break
            operands.append(self.rest[0])
            self.rest = self.rest[1:]
        self.rest = (*operands, *self.rest)

    def has(self, names: Iterable[str]) -> bool:
        """Whether one of the options is given; the name "" stands for none at all."""
        given = {name for name, _ in self._given}
        return any(name in given for name in names)

    def values_of(self, names: Iterable[str]) -> tuple[Word, ...]:
        """Return the values given to these options, in order."""
        wanted = frozenset(names)
        return tuple(value for name, value in self._given if name in wanted and value is not None)

    def _read_one(self) -> bool:
        """Read one word; False at the first that is no option."""
        word = self.rest[0]
        text = word.text
        if text.startswith(UNKNOWN) or (word.many and text.startswith("-")):
            self.understood = False
            return False
        if text == "--":
            self.rest = self.rest[1:]
            return False
        if text == "-" and self._prefix.assigns:
            self.rest = self.rest[1:]
            return True
        if not text.startswith("-") or text == "-":
            return False
        if self._prefix.numbers and _NUMBER.fullmatch(text):
            self.rest = self.rest[1:]
        elif text.startswith("--"):
            self._read_long(text[2:])
        else:
            self._read_short(text[1:])
        return self.understood

    def _read_long(self, text: str) -> None:
        name, equals, value = text.partition("=")
        # GNU takes any beginning that fits one name alone.
        fitting = [known for known in self._prefix.long if known.rstrip("=") == name] or [
            known for known in self._prefix.long if known.startswith(name)
        ]
        if len(fitting) != 1 or UNKNOWN in name:
            self.understood = False
            return
        self.rest = self.rest[1:]
        known = fitting[0].rstrip("=")
        if equals:
            self._given.append((known, Word(value)))
        elif fitting[0].endswith("="):
            self._take_value(known)
        else:
            self._given.append((known, None))

    def _read_short(self, letters: str) -> None:
        self.rest = self.rest[1:]
        for position, letter in enumerate(letters):
            index = self._prefix.short.find(letter)
            if index < 0 or letter in {":", UNKNOWN}:
                self.understood = False
                return
            colons = self._prefix.short[index + 1 : index + 3]
            behind = letters[position + 1 :]
            if not colons.startswith(":"):
                self._given.append((letter, None))
                continue
            if behind or colons == "::":
                self._given.append((letter, Word(behind)))
            else:
                self._take_value(letter)
            return

    def _take_value(self, name: str) -> None:
        if not self.rest or self.rest[0].many:
            self.understood = False
            return
        self._given.append((name, self.rest[0]))
        self.rest = self.rest[1:]
