"""What is read from a shell text: commands made of words, as far as the text alone says."""

from __future__ import annotations

from substrate.record import record

# Stands in a word for what only the running shell will know. NUL, which no argument can contain.
UNKNOWN = "\0"


@record
class Word:
    """One word after quote removal; `raw` is how it was written, continued lines joined."""

    text: str
    # Splitting, globs and braces may turn it into no word or several.
    many: bool = False
    raw: str = ""
    # The shell splits what it puts in, so what comes out may begin anyhow: not so with a glob.
    splits: bool = False

    @property
    def known(self) -> bool:
        """Whether the word is exactly its text, whatever the shell's variables and files are."""
        return not self.many and UNKNOWN not in self.text


class Heredoc:
    """A here-document; its body stands behind the next newline, so it is known only later."""

    __slots__ = ("body", "delimiter", "quoted", "strip_tabs")

    def __init__(self, delimiter: str, quoted: bool, strip_tabs: bool) -> None:
        self.delimiter = delimiter
        self.quoted = quoted
        self.strip_tabs = strip_tabs
        self.body = Word(UNKNOWN)


@record
class Redirect:
    """One redirection of the descriptor `number`, "" for the usual one.

    With `<<` the target is the delimiter.
    """

    number: str
    operator: str
    target: Word
    heredoc: Heredoc | None = None


@record
class Command:
    """One simple command as it stands in the text, of which it is `text`."""

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...] = ()
    redirects: tuple[Redirect, ...] = ()
    text: str = ""


@record
class Fault:
    """Why something cannot be judged; `code` is stable and part of a rule's id."""

    code: str
    reason: str
    text: str = ""


@record
class Script:
    """Every simple command of a text, wherever it stands, and what could not be read."""

    commands: tuple[Command, ...]
    faults: tuple[Fault, ...] = ()


def literal(text: str) -> Word:
    """Return the word that is exactly `text`: an element of an argv."""
    return Word(text, False, text)
