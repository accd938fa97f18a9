"""Here-documents: the delimiter where it is named, the body behind the next newline."""

from __future__ import annotations

import re

from substrate.policy.syntax import Heredoc, Redirect, Word
from substrate.policy.words import read_heredoc_body, read_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.policy.cursor import Cursor

_PLAIN_DELIMITER = re.compile(r"[A-Za-z_0-9.+%@:,/-]+")
_QUOTED_DELIMITER = re.compile(r"'[^'\n$`\\]+'|\"[^\"\n$`\\]+\"|\\?[A-Za-z_0-9.+%@:,/-]+")
_CONTINUED = re.compile(r"(?:\A|[^\\])(?:\\\\)*\\\Z")


def begin_heredoc(cursor: Cursor, number: str, operator: str) -> Redirect:
    """Read the delimiter behind `<<` or `<<-`; the body is read by `read_heredocs`."""
    word = read_word(cursor)
    plain = _PLAIN_DELIMITER.fullmatch(word.raw) is not None
    if not word.known or not (plain or _QUOTED_DELIMITER.fullmatch(word.raw)):
        cursor.unreadable("a here-document whose delimiter shells may read differently")
    heredoc = Heredoc(word.text, not plain, operator == "<<-")
    cursor.heredocs.append(heredoc)
    return Redirect(number, operator, word, heredoc)


def read_heredocs(cursor: Cursor) -> None:
    """Read the bodies that wait for the newline just passed."""
    if cursor.outer_heredocs:
        cursor.unreadable("a newline before the body of a here-document outside")
    for heredoc in cursor.heredocs:
        _read_body(cursor, heredoc)
    cursor.heredocs = []


def _read_body(cursor: Cursor, heredoc: Heredoc) -> None:
    start = cursor.pos
    # What continued lines before this one say.
    continued: str | None = None
    while not cursor.at_end():
        end = cursor.text.find("\n", cursor.pos)
        end = len(cursor.text) if end < 0 else end
        line = cursor.text[cursor.pos : end]
        before = cursor.pos
        cursor.pos = min(end + 1, len(cursor.text))
        bare = line.lstrip("\t") if heredoc.strip_tabs else line
        if not heredoc.quoted and _CONTINUED.search(line):
            continued = (continued or "") + bare[:-1]
            continue
        if continued is not None:
            if heredoc.delimiter in {bare, continued + bare, continued + line}:
                cursor.unreadable("a continued line before the end of a here-document")
            continued = None
        elif bare == heredoc.delimiter:
            _judge_body(cursor, heredoc, cursor.text[start:before])
            return
    cursor.unreadable("a here-document without its end")


def _judge_body(cursor: Cursor, heredoc: Heredoc, body: str) -> None:
    if heredoc.quoted:
        heredoc.body = Word(body)
        return
    inner = type(cursor)(body, cursor.posix, cursor.depth, cursor.budget, cursor.parse_list)
    inner.commands, inner.faults = cursor.commands, cursor.faults
    inner.deeper()
    heredoc.body = read_heredoc_body(inner)
