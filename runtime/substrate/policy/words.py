"""Reading one word of a shell text: quotes, escapes, expansions, substitutions."""

from __future__ import annotations

import re

from substrate.policy.ansi_c import read_ansi_c
from substrate.policy.syntax import UNKNOWN, Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.policy.cursor import Cursor

METACHARACTERS = " \t\n;&|<>()"
_PLAIN = re.compile(r"[^ \t\n;&|<>()\\'\"`$*?\[\]{]+")
_TILDE = re.compile(r"~[A-Za-z0-9_.+-]*")
_PLAIN_IN_QUOTES = re.compile(r"[^\"\\`$]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*|[0-9@*#?$!-]")
_BACKTICKED = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL)
_BACKTICK_ESCAPE = re.compile(r"\\([`\\$])")
_PLAIN_IN_BRACES = re.compile(r"[^}{\\'\"`$<>@]+")


class _Pieces:
    """The word as it grows."""

    __slots__ = ("bracket", "many", "splits", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.many = False
        self.splits = False
        # Where an unquoted `[` stands that may begin a glob, None without.
        self.bracket: int | None = None

    def unknown(self, splits: bool) -> None:
        self.texts.append(UNKNOWN)
        self.many = self.many or splits
        self.splits = self.splits or splits

    def glob(self) -> None:
        self.texts.append(UNKNOWN)
        self.many = True


def read_word(cursor: Cursor) -> Word:
    """Return the word at the cursor; its text is empty and its raw too when there is none."""
    start = cursor.pos
    pieces = _Pieces()
    if tilde := _TILDE.match(cursor.text, cursor.pos):
        # HOME, OLDPWD and PWD are variables like others.
        pieces.unknown(splits=False)
        cursor.pos = tilde.end()
    while not cursor.at_end():
        plain = _PLAIN.match(cursor.text, cursor.pos)
        if plain is not None:
            pieces.texts.append(plain.group())
            cursor.pos = plain.end()
        elif not _read_special(cursor, pieces):
            break
    raw = cursor.text[start : cursor.pos].replace("\\\n", "")
    text = "".join(pieces.texts)
    cursor.judge_literal(text)
    return Word(text, pieces.many, raw, pieces.splits)


def read_word_here(cursor: Cursor) -> Word:
    """Return the word at the cursor, which must be there."""
    word = Word("") if cursor.char() == "#" else read_word(cursor)
    if not word.raw:
        cursor.unreadable("a word expected")
    return word


def _read_special(cursor: Cursor, pieces: _Pieces) -> bool:
    """Read what begins with a character that means something; False where the word ends."""
    char = cursor.char()
    if char in METACHARACTERS:
        if char not in "<>" or cursor.char(1) != "(":
            return False
        _read_process_substitution(cursor, pieces)
    elif char == "\\":
        _read_escape(cursor, pieces)
    elif char == "'":
        pieces.texts.append(_read_single_quoted(cursor))
    elif char == '"':
        _read_double_quoted(cursor, pieces)
    elif char == "`":
        read_backtick(cursor, pieces, in_quotes=False)
    elif char == "$":
        read_dollar(cursor, pieces, in_quotes=False)
    else:
        _read_glob(cursor, pieces, char)
    return True


def _read_escape(cursor: Cursor, pieces: _Pieces) -> None:
    following = cursor.char(1)
    if not following:
        cursor.unreadable("a backslash at the end")
    if following != "\n":
        pieces.texts.append(following)
    cursor.pos += 2


def _read_glob(cursor: Cursor, pieces: _Pieces, char: str) -> None:
    if char == "{" and cursor.char(1) == "}":
        # What find and xargs replace; no shell expands it.
        pieces.texts.append("{}")
        cursor.pos += 2
        return
    if char in "*?{":
        pieces.glob()
    elif char == "[":
        pieces.bracket = len(pieces.texts) if pieces.bracket is None else pieces.bracket
        pieces.texts.append(char)
    else:
        pieces.texts.append(char)
        if pieces.bracket is not None:
            pieces.texts[pieces.bracket] = UNKNOWN
            pieces.many = True
    cursor.pos += 1


def _read_single_quoted(cursor: Cursor) -> str:
    end = cursor.text.find("'", cursor.pos + 1)
    if end < 0:
        cursor.unreadable("a single quote without its end")
    text = cursor.text[cursor.pos + 1 : end]
    cursor.pos = end + 1
    return text


def _read_double_quoted(cursor: Cursor, pieces: _Pieces) -> None:
    opening = cursor.pos
    cursor.pos += 1
    while not cursor.looking_at('"'):
        if cursor.at_end():
            cursor.pos = opening
            cursor.unreadable("a double quote without its end")
        _read_quoted_piece(cursor, pieces)
    # An empty pair of quotes still makes a word.
    pieces.texts.append("")
    cursor.pos += 1


def _read_quoted_piece(cursor: Cursor, pieces: _Pieces, escapable: str = '$`"\\\n') -> None:
    """Read one piece of what has the expansions of double quotes."""
    plain = _PLAIN_IN_QUOTES.match(cursor.text, cursor.pos)
    char = cursor.char()
    if plain is not None:
        pieces.texts.append(plain.group())
        cursor.pos = plain.end()
    elif char == "$":
        read_dollar(cursor, pieces, in_quotes=True)
    elif char == "`":
        read_backtick(cursor, pieces, in_quotes=True)
    elif char == '"':
        pieces.texts.append(char)
        cursor.pos += 1
    else:
        following = cursor.char(1)
        if following != "\n":
            kept = following if following and following in escapable else "\\" + following
            pieces.texts.append(kept)
        cursor.pos += 2


def read_heredoc_body(cursor: Cursor) -> Word:
    """Return the whole text of the cursor, read as a here-document with an unquoted delimiter."""
    pieces = _Pieces()
    while not cursor.at_end():
        _read_quoted_piece(cursor, pieces, escapable="$`\\\n")
    return Word("".join(pieces.texts))


def read_dollar(cursor: Cursor, pieces: _Pieces, in_quotes: bool) -> None:
    """Read what begins with a dollar."""
    following = cursor.char(1)
    if following == "(":
        if cursor.char(2) == "(":
            cursor.pos += 3
            read_arithmetic(cursor)
        else:
            cursor.pos += 2
            read_substitution(cursor)
        pieces.unknown(splits=not in_quotes)
    elif following == "{":
        cursor.pos += 2
        _read_braces(cursor, pieces, in_quotes)
    elif following == "[":
        cursor.unreadable("$[ is arithmetic only in some shells")
    elif following in {"'", '"'} and following and not in_quotes:
        cursor.bash_only(f"${following}")
        if following == "'":
            pieces.texts.append(read_ansi_c(cursor))
            return
        cursor.pos += 1
        # A message catalogue decides what it says.
        _read_double_quoted(cursor, pieces)
        pieces.unknown(splits=False)
    elif name := _NAME.match(cursor.text, cursor.pos + 1):
        cursor.pos = name.end()
        pieces.unknown(splits=not in_quotes or name.group() == "@")
    else:
        pieces.texts.append("$")
        cursor.pos += 1


def _read_braces(cursor: Cursor, pieces: _Pieces, in_quotes: bool) -> None:
    """Read a parameter expansion behind its `${`; what it may run is found, its value is not."""
    start = cursor.pos
    if cursor.char() in " \t\n|(" or cursor.at_end():
        cursor.unreadable("${ with a command is a substitution in some shells")
    cursor.deeper()
    inner = _Pieces()
    while not cursor.looking_at("}"):
        _read_in_braces(cursor, inner, in_quotes)
    cursor.depth -= 1
    inside = cursor.text[start : cursor.pos]
    cursor.pos += 1
    pieces.unknown(splits=not in_quotes or "@" in inside)


def _read_in_braces(cursor: Cursor, inner: _Pieces, in_quotes: bool) -> None:
    plain = _PLAIN_IN_BRACES.match(cursor.text, cursor.pos)
    char = cursor.char()
    if plain is not None:
        cursor.pos = plain.end()
    elif char == "$":
        read_dollar(cursor, inner, in_quotes=True)
    elif char == "`":
        read_backtick(cursor, inner, in_quotes)
    elif char == '"':
        _read_double_quoted(cursor, inner)
    elif char == "'" and not in_quotes:
        _read_single_quoted(cursor)
    elif char == "\\" and cursor.char(1):
        cursor.pos += 2
    elif (char == "@" and cursor.char(1) != "P") or (
        char in "<>" and char and cursor.char(1) != "("
    ):
        cursor.pos += 1
    else:
        # A brace, a quote in quotes, an end that is missing, or @P, which runs what it expands.
        cursor.unreadable("a parameter expansion that shells read differently")


def read_backtick(cursor: Cursor, pieces: _Pieces, in_quotes: bool) -> None:
    """Read a command substitution in backticks: a text of its own, escapes removed."""
    found = _BACKTICKED.match(cursor.text, cursor.pos)
    if found is None:
        cursor.unreadable("a backtick without its end")
    if in_quotes and '\\"' in found.group(1):
        # Double quotes and here-documents disagree about whose escape that is.
        cursor.unreadable("an escaped quote in backticks in quotes")
    inner = type(cursor)(
        _BACKTICK_ESCAPE.sub(r"\1", found.group(1)),
        cursor.posix,
        cursor.depth,
        cursor.budget,
        cursor.parse_list,
    )
    inner.commands, inner.faults = cursor.commands, cursor.faults
    inner.deeper()
    inner.parse_list(inner, frozenset())
    if not inner.at_end():
        inner.unreadable("a command substitution that does not end here")
    if inner.heredocs:
        inner.unreadable("a here-document without its body")
    cursor.pos = found.end()
    pieces.unknown(splits=not in_quotes)


def _read_process_substitution(cursor: Cursor, pieces: _Pieces) -> None:
    cursor.bash_only("process substitution")
    cursor.pos += 2
    read_substitution(cursor)
    pieces.unknown(splits=False)


def read_substitution(cursor: Cursor) -> None:
    """Read commands behind an opening parenthesis up to the one that closes it."""
    cursor.deeper()
    outside, cursor.heredocs = cursor.heredocs, []
    cursor.outer_heredocs += len(outside)
    cursor.parse_list(cursor, frozenset())
    if cursor.heredocs:
        cursor.unreadable("a here-document whose substitution ends before its body")
    cursor.outer_heredocs -= len(outside)
    cursor.heredocs = outside
    cursor.expect(")")
    cursor.depth -= 1


def read_arithmetic(cursor: Cursor) -> None:
    """Read behind `((` up to `))`; anything but that may be two subshells instead."""
    cursor.deeper()
    inner = _Pieces()
    start = cursor.pos
    open_parentheses = 0
    while open_parentheses or not cursor.looking_at("))"):
        char = cursor.char()
        if char == "$":
            read_dollar(cursor, inner, in_quotes=True)
        elif char == "`":
            read_backtick(cursor, inner, in_quotes=False)
        elif char == '"':
            _read_double_quoted(cursor, inner)
        elif not char or char in "'\\" or (char == ")" and not open_parentheses):
            cursor.unreadable("arithmetic that may be something else")
        else:
            open_parentheses += {"(": 1, ")": -1}.get(char, 0)
            cursor.pos += 1
    cursor.judge_literal(cursor.text[start : cursor.pos])
    cursor.pos += 2
    cursor.depth -= 1
