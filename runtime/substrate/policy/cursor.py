"""The place in a shell text up to which it has been read, and what has been found.

The reading is strict: a construct whose meaning differs between shells, or is not known here,
ends it with `UnreadableError`. Reading on would be guessing where the next command begins.
"""

from __future__ import annotations

import re

from substrate.policy.syntax import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from substrate.policy.syntax import Command, Heredoc

# Linux takes no longer single argument, so no longer text can be given to `sh -c`.
LONGEST = 128 * 1024
DEEPEST = 60
MOST_COMMANDS = 2000
# Nested texts are read again inside what contains them; all readings of one judgement together.
MOST_READ = 8 * LONGEST

_BLANKS = re.compile(r"(?:[ \t]|\\\n)*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# A continued line inside an operator or behind a dollar: shells join them before reading on.
_SPLIT_OPERATOR = re.compile(r"[$&|<>;(](?:\\\n)+[&|<>;()'\"{\[$]")
_SUBSCRIPT = re.compile(r"[A-Za-z_0-9]\[")
_SUBSTITUTION = re.compile(r"\$[({]|`")


class UnreadableError(Exception):
    """The text cannot be read any further; `fault` says why."""

    def __init__(self, code: str, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.fault = Fault(code, reason, text)


class Budget:
    """How much one judgement may still read, shared by all texts nested in each other."""

    __slots__ = ("characters", "commands")

    def __init__(self) -> None:
        self.characters = MOST_READ
        self.commands = MOST_COMMANDS

    def take_text(self, text: str) -> None:
        """Account for the reading of a text; one too long is not read."""
        if len(text) > LONGEST:
            raise UnreadableError("too-long", f"longer than {LONGEST >> 10} KiB")
        self.characters -= len(text)
        if self.characters < 0:
            raise UnreadableError("too-deep", "too many texts inside each other")

    def take_command(self) -> None:
        """Account for one command."""
        self.commands -= 1
        if self.commands < 0:
            raise UnreadableError("too-many", f"more than {MOST_COMMANDS} commands")


class Cursor:
    """One text being read. `parse_list` is grammar.py's, for what a word substitutes."""

    __slots__ = (
        "budget",
        "commands",
        "depth",
        "faults",
        "heredocs",
        "outer_heredocs",
        "parse_list",
        "pos",
        "posix",
        "text",
    )

    def __init__(
        self, text: str, posix: bool, depth: int, budget: Budget, parse_list: ListParser
    ) -> None:
        budget.take_text(text)
        self.text = text
        self.pos = 0
        self.posix = posix
        self.depth = depth
        self.budget = budget
        self.parse_list = parse_list
        self.commands: list[Command] = []
        self.faults: list[Fault] = []
        self.heredocs: list[Heredoc] = []
        self.outer_heredocs = 0
        if control := _CONTROL.search(text):
            raise UnreadableError("syntax", f"a control character, {control.group()!r}")
        if _SPLIT_OPERATOR.search(text):
            raise UnreadableError("syntax", "a line that is continued inside an operator")

    def at_end(self) -> bool:
        """Whether all is read."""
        return self.pos >= len(self.text)

    def char(self, ahead: int = 0) -> str:
        """Return the character `ahead` of the place, "" behind the end."""
        return self.text[self.pos + ahead : self.pos + ahead + 1]

    def looking_at(self, text: str) -> bool:
        """Whether `text` comes next."""
        return self.text.startswith(text, self.pos)

    def skip_blanks(self) -> None:
        """Go on to what is no blank; continued lines are blanks here."""
        found = _BLANKS.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()

    def expect(self, text: str) -> None:
        """Go past `text`, which must come next."""
        if not self.looking_at(text):
            self.unreadable(f"{text!r} expected")
        self.pos += len(text)

    def unreadable(self, reason: str, code: str = "syntax") -> NoReturn:
        """Give the text up here."""
        line = self.text.count("\n", 0, self.pos) + 1
        column = self.pos - (self.text.rfind("\n", 0, self.pos) + 1) + 1
        raise UnreadableError(code, f"line {line} column {column}: {reason}")

    def bash_only(self, what: str) -> None:
        """Give up on what other shells understand differently from bash."""
        if self.posix:
            self.unreadable(f"{what} means something else in another shell than bash")

    def deeper(self) -> None:
        """Enter a construct; `self.depth -= 1` leaves it."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.unreadable("nested too deeply", "too-deep")

    def found(self, command: Command) -> None:
        """Keep a simple command."""
        self.budget.take_command()
        self.commands.append(command)

    def judge_literal(self, text: str) -> None:
        """Note a literal that arithmetic, `test -v`, `unset` or `read` would run code from."""
        subscript = _SUBSCRIPT.search(text) if "[" in text else None
        if subscript is not None and _SUBSTITUTION.search(text, subscript.end()):
            reason = "arithmetic would run the substitution in a subscript"
            self.faults.append(Fault("subscript", reason, text))


if TYPE_CHECKING:
    ListParser = Callable[[Cursor, frozenset[str]], None]
