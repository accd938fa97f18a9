"""Compound commands: groups, loops, conditions, `case`, `[[`, functions."""

from __future__ import annotations

import re

from substrate.policy.reserved import reserved_word
from substrate.policy.words import read_arithmetic, read_substitution, read_word, read_word_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.policy.cursor import Cursor

_COMPOUND = frozenset(("{", "if", "while", "until", "for", "case", "select", "[["))
_BLANK_LINES = re.compile(r"(?:[ \t\n]|\\\n|#[^\n]*)*")
_PARENTHESES = re.compile(r"\([ \t]*\)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_NO_MORE = re.compile(r"[ \t\n;&|<>()]|\Z")
_END_OF_CONDITION = re.compile(r"\]\](?=[ \t\n;&|<>()]|\Z)")


def read_compound(cursor: Cursor, word: str) -> None:
    """Read the compound command that begins with the reserved `word`, or with a parenthesis."""
    if not word:
        _read_parenthesis(cursor)
        return
    reader = _READERS.get(word)
    if reader is None:
        cursor.unreadable(f"{word!r} where a command was expected")
    cursor.pos += len(word)
    reader(cursor)


def read_function_body(cursor: Cursor) -> None:
    """Read what must be a compound command."""
    word = reserved_word(cursor)
    if word not in _COMPOUND and cursor.char() != "(":
        cursor.unreadable("a function whose body is no compound command")
    cursor.deeper()
    read_compound(cursor, word)
    cursor.depth -= 1


def _read_parenthesis(cursor: Cursor) -> None:
    cursor.pos += 1
    if cursor.char() != "(":
        read_substitution(cursor)
        return
    cursor.bash_only("((")
    cursor.pos += 1
    read_arithmetic(cursor)


def _list(cursor: Cursor, *stops: str) -> str:
    """Read a list up to one of the reserved words, go past that and return it."""
    cursor.parse_list(cursor, frozenset(stops))
    word = reserved_word(cursor)
    if word not in stops:
        cursor.unreadable(f"{' or '.join(map(repr, stops))} expected")
    cursor.pos += len(word)
    return word


def _skip_lines(cursor: Cursor) -> None:
    """Go to the next word; a here-document cannot wait for these newlines."""
    found = _BLANK_LINES.match(cursor.text, cursor.pos)
    end = cursor.pos if found is None else found.end()
    if "\n" in cursor.text[cursor.pos : end].replace("\\\n", "") and (
        cursor.heredocs or cursor.outer_heredocs
    ):
        cursor.unreadable("a here-document inside a compound command's head")
    cursor.pos = end


def _group(cursor: Cursor) -> None:
    _list(cursor, "}")


def _if(cursor: Cursor) -> None:
    _list(cursor, "then")
    while True:
        word = _list(cursor, "elif", "else", "fi")
        if word == "fi":
            return
        if word == "else":
            _list(cursor, "fi")
            return
        _list(cursor, "then")


def _while(cursor: Cursor) -> None:
    _list(cursor, "do")
    _list(cursor, "done")


def _for(cursor: Cursor) -> None:
    cursor.skip_blanks()
    if cursor.looking_at("(("):
        cursor.bash_only("for ((")
        cursor.pos += 2
        read_arithmetic(cursor)
        cursor.skip_blanks()
    else:
        _read_name(cursor)
        _skip_lines(cursor)
        if _keyword(cursor, "in"):
            _read_values(cursor)
    if cursor.char() == ";":
        cursor.pos += 1
    _skip_lines(cursor)
    if reserved_word(cursor) != "do":
        cursor.unreadable("'do' expected")
    cursor.pos += len("do")
    _list(cursor, "done")


def _select(cursor: Cursor) -> None:
    cursor.bash_only("select")
    _for(cursor)


def _read_values(cursor: Cursor) -> None:
    cursor.skip_blanks()
    while cursor.char() != "#" and read_word(cursor).raw:
        cursor.skip_blanks()
    if cursor.char() == "#":
        _skip_lines(cursor)
        return
    if cursor.char() not in {";", "\n"}:
        cursor.unreadable("the end of a loop's words expected")


def _case(cursor: Cursor) -> None:
    cursor.skip_blanks()
    read_word_here(cursor)
    _skip_lines(cursor)
    if not _keyword(cursor, "in"):
        cursor.unreadable("'in' expected")
    while True:
        _skip_lines(cursor)
        if reserved_word(cursor) == "esac":
            cursor.pos += len("esac")
            return
        _read_patterns(cursor)
        cursor.parse_list(cursor, frozenset(("esac",)))
        ending = next((end for end in (";;&", ";;", ";&") if cursor.looking_at(end)), "")
        if not ending and reserved_word(cursor) != "esac":
            cursor.unreadable("'esac' expected")
        cursor.pos += len(ending)


def _read_patterns(cursor: Cursor) -> None:
    if cursor.char() == "(":
        cursor.pos += 1
    while True:
        cursor.skip_blanks()
        read_word_here(cursor)
        cursor.skip_blanks()
        char = cursor.char()
        if char not in {"|", ")"} or not char:
            cursor.unreadable("the end of a pattern expected")
        cursor.pos += 1
        if char == ")":
            return


def _function(cursor: Cursor) -> None:
    cursor.bash_only("function")
    cursor.skip_blanks()
    if not read_word_here(cursor).known:
        cursor.unreadable("the name of a function expected")
    cursor.skip_blanks()
    if found := _PARENTHESES.match(cursor.text, cursor.pos):
        cursor.pos = found.end()
    _skip_lines(cursor)
    read_function_body(cursor)


def _condition(cursor: Cursor) -> None:
    """Read `[[ … ]]`; it ends at the first `]]`, as no shell would end it sooner."""
    cursor.bash_only("[[")
    while True:
        before = cursor.pos
        _skip_lines(cursor)
        if "#" in cursor.text[before : cursor.pos]:
            cursor.unreadable("a comment in a condition")
        if end := _END_OF_CONDITION.match(cursor.text, cursor.pos):
            cursor.pos = end.end()
            return
        if cursor.looking_at("&&") or cursor.looking_at("||"):
            cursor.pos += 2
        elif cursor.char() in {"(", ")"} or (cursor.char() in {"<", ">"} and cursor.char(1) != "("):
            cursor.pos += 1
        else:
            word = read_word_here(cursor)
            if word.raw == "=~":
                cursor.skip_blanks()
                _read_regular_expression(cursor)


def _read_regular_expression(cursor: Cursor) -> None:
    """Read the word behind `=~`, in which parentheses and bars are plain characters."""
    while True:
        before = cursor.pos
        read_word(cursor)
        if cursor.char() in {"(", ")", "|"} and cursor.char():
            cursor.pos += 1
        elif cursor.pos == before:
            break
    if cursor.char() not in {" ", "\t", "\n"}:
        cursor.unreadable("a regular expression that cannot be read")


def _read_name(cursor: Cursor) -> None:
    found = _IDENTIFIER.match(cursor.text, cursor.pos)
    if found is None or not _NO_MORE.match(cursor.text, found.end()):
        cursor.unreadable("a name expected")
    cursor.pos = found.end()


def _keyword(cursor: Cursor, word: str) -> bool:
    if not cursor.looking_at(word) or not _NO_MORE.match(cursor.text, cursor.pos + len(word)):
        return False
    cursor.pos += len(word)
    return True


_READERS: dict[str, Callable[[Cursor], None]] = {
    "{": _group,
    "if": _if,
    "while": _while,
    "until": _while,
    "for": _for,
    "select": _select,
    "case": _case,
    "function": _function,
    "[[": _condition,
}
