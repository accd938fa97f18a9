"""The grammar of a shell text: lists, pipelines, compound commands, simple commands.

Covers bash 5 and what POSIX shells have of it. It keeps no tree: which simple commands are
there is all a judgement needs, and every one counts, also in a branch that may not be taken.
"""

from __future__ import annotations

import re

from substrate.policy.compound import read_compound, read_function_body
from substrate.policy.cursor import Budget, Cursor, UnreadableError
from substrate.policy.heredocs import begin_heredoc, read_heredocs
from substrate.policy.reserved import RESERVED, reserved_word
from substrate.policy.syntax import Command, Fault, Redirect, Script, Word
from substrate.policy.words import read_word, read_word_here

_REDIRECT = re.compile(r"([0-9]*)(&>>|&>|<<<|<<-|<<|<&|<>|<|>&|>>|>\||>)")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)(\[[^\]]*\])?\+?=")
_PLAIN_SUBSCRIPT = re.compile(r"\[[A-Za-z_0-9]*\]")
_SUBSCRIPTED = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\[")
_FUNCTION = re.compile(r"\([ \t]*\)")
_DECLARES = frozenset(("declare", "typeset", "local", "export", "readonly"))
_TIME_OPTION = re.compile(r"(-p|--)(?=[ \t\n;&|<>()]|\Z)")


def read_script(text: str, posix: bool, budget: Budget | None = None, depth: int = 0) -> Script:
    """Return the simple commands of `text` and what of it could not be read.

    `posix`: the text is for some `sh`, where what is special to bash means something else.
    """
    cursor = None
    try:
        cursor = Cursor(text, posix, depth, budget or Budget(), read_list)
        read_list(cursor, frozenset())
        if not cursor.at_end():
            cursor.unreadable(f"{cursor.char()!r} where a command was expected")
        if cursor.heredocs:
            cursor.unreadable("a here-document without its body")
    except UnreadableError as error:
        faults, fault = [] if cursor is None else cursor.faults, error.fault
    except RecursionError:
        faults, fault = [] if cursor is None else cursor.faults, Fault("too-deep", "nested")
    else:
        return Script(tuple(cursor.commands), tuple(cursor.faults))
    commands = () if cursor is None else tuple(cursor.commands)
    return Script(commands, (*faults, fault))


def read_list(cursor: Cursor, stops: frozenset[str]) -> None:
    """Read commands up to the end, a `)`, a `;;`, or a reserved word of `stops`."""
    while True:
        skip_lines(cursor)
        if _list_ends(cursor) or reserved_word(cursor) in stops:
            return
        _read_and_or(cursor)
        cursor.skip_blanks()
        char = cursor.char()
        if _list_ends(cursor) or char in {"\n", "#"}:
            continue
        # Only `;` and `&` are left to end a command.
        if char not in {";", "&"}:
            cursor.unreadable(f"{char!r} behind a command")
        cursor.pos += 1


def skip_lines(cursor: Cursor) -> None:
    """Go past blanks, comments and newlines; behind a newline stand the here-documents."""
    while True:
        cursor.skip_blanks()
        if cursor.char() == "#":
            end = cursor.text.find("\n", cursor.pos)
            cursor.pos = len(cursor.text) if end < 0 else end
        if cursor.char() != "\n":
            return
        cursor.pos += 1
        read_heredocs(cursor)


def _list_ends(cursor: Cursor) -> bool:
    return (
        cursor.at_end()
        or cursor.char() == ")"
        or cursor.looking_at(";;")
        or (cursor.looking_at(";&"))
    )


def _read_and_or(cursor: Cursor) -> None:
    while True:
        _read_pipeline(cursor)
        cursor.skip_blanks()
        if not (cursor.looking_at("&&") or cursor.looking_at("||")):
            return
        cursor.pos += 2
        skip_lines(cursor)


def _read_pipeline(cursor: Cursor) -> None:
    while True:
        _read_command(cursor)
        cursor.skip_blanks()
        if not cursor.looking_at("|") or cursor.looking_at("||"):
            return
        cursor.pos += 1
        if cursor.char() == "&":
            cursor.bash_only("|&")
            cursor.pos += 1
        skip_lines(cursor)


def _read_command(cursor: Cursor) -> None:
    cursor.deeper()
    word = reserved_word(cursor)
    if word in {"!", "time"}:
        cursor.pos += len(word)
        cursor.skip_blanks()
        while word == "time" and (option := _TIME_OPTION.match(cursor.text, cursor.pos)):
            cursor.pos = option.end()
            cursor.skip_blanks()
        if not _list_ends(cursor) and cursor.char() not in {"\n", ";", "&", "|"}:
            _read_command(cursor)
    elif word == "coproc":
        cursor.bash_only("coproc")
        _read_coprocess(cursor)
    elif word or cursor.char() == "(":
        read_compound(cursor, word)
        while _read_redirect(cursor) is not None:
            pass
    else:
        _read_simple(cursor)
    cursor.depth -= 1


def _read_coprocess(cursor: Cursor) -> None:
    cursor.pos += len("coproc")
    cursor.skip_blanks()
    before = len(cursor.commands)
    _read_command(cursor)
    cursor.skip_blanks()
    first = cursor.commands[before] if len(cursor.commands) > before else None
    # `coproc NAME { …; }`: read as a command, its brace would be an argument.
    if first is not None and any(word.raw in {"{", "(", "[["} for word in first.words[1:2]):
        cursor.unreadable("a coprocess with a name")
    if first is not None and first.words[1:] and first.words[1].raw in RESERVED:
        cursor.unreadable("a coprocess with a name")


def _read_simple(cursor: Cursor) -> None:
    start = cursor.pos
    words: list[Word] = []
    assignments: list[tuple[str, Word]] = []
    redirects: list[Redirect] = []
    while True:
        redirect = _read_redirect(cursor)
        if redirect is not None:
            redirects.append(redirect)
            continue
        if cursor.char() == "(":
            if len(words) == 1 and not assignments and not redirects:
                _read_function(cursor, words[0])
                return
            cursor.unreadable("'(' behind a word")
        # A comment, since what comes before a word is a blank or the end of another token.
        word = Word("") if cursor.char() == "#" else read_word(cursor)
        if not word.raw:
            break
        if not words and _is_assignment(cursor, word):
            assignments.append(_read_assignment(cursor, word))
            continue
        _read_declared_array(cursor, words, word)
        words.append(word)
        if words[0].raw in RESERVED:
            cursor.unreadable(f"{words[0].raw!r} where a command was expected")
    if not words and not assignments and not redirects:
        cursor.unreadable(f"{cursor.char()!r} where a command was expected")
    text = cursor.text[start : cursor.pos].strip()
    cursor.found(Command(tuple(words), tuple(assignments), tuple(redirects), text))


def _is_assignment(cursor: Cursor, word: Word) -> bool:
    if _ASSIGNMENT.match(word.raw):
        return True
    if _SUBSCRIPTED.match(word.raw):
        # bash reads up to the bracket's end, over blanks, if an equals sign follows it.
        cursor.unreadable("a word that may be an assignment to an element")
    return False


def _read_assignment(cursor: Cursor, word: Word) -> tuple[str, Word]:
    found = _ASSIGNMENT.match(word.raw)
    name = "" if found is None else found.group(1)
    subscript = "" if found is None else found.group(2) or ""
    if subscript and (not _PLAIN_SUBSCRIPT.fullmatch(subscript) or name.startswith("BASH_")):
        cursor.unreadable("an assignment to an element")
    if cursor.char() == "(":
        _read_array(cursor, word)
        return name, Word("", True, "")
    value = word.text.partition("=")[2]
    return name, Word(value, False, word.raw)


def _read_declared_array(cursor: Cursor, words: list[Word], word: Word) -> None:
    if cursor.char() == "(" and words and words[0].text in _DECLARES:
        _read_array(cursor, word)


def _read_array(cursor: Cursor, word: Word) -> None:
    cursor.bash_only("an array")
    if not word.raw.endswith("="):
        cursor.unreadable("'(' behind a word")
    cursor.deeper()
    cursor.pos += 1
    while True:
        skip_lines(cursor)
        if cursor.char() == ")":
            break
        read_word_here(cursor)
    cursor.pos += 1
    if cursor.char() not in " \t\n;&|)":
        # bash goes on with the same word, and takes what comes then for a command.
        cursor.unreadable(f"{cursor.char()!r} behind an array")
    cursor.depth -= 1


def _read_function(cursor: Cursor, name: Word) -> None:
    parentheses = _FUNCTION.match(cursor.text, cursor.pos)
    if parentheses is None or not name.known:
        cursor.unreadable("'(' behind a word")
    cursor.pos = parentheses.end()
    skip_lines(cursor)
    read_function_body(cursor)
    while _read_redirect(cursor) is not None:
        pass


def _read_redirect(cursor: Cursor) -> Redirect | None:
    cursor.skip_blanks()
    found = _REDIRECT.match(cursor.text, cursor.pos)
    if found is None:
        return None
    number, operator = found.groups()
    behind = found.end()
    if operator in {"<", ">"} and cursor.text[behind : behind + 1] == "(":
        # A number there is an argument of its own, and so is the process substitution.
        return None
    if operator in {"&>", "&>>", "<<<"}:
        cursor.bash_only(operator)
    cursor.pos = behind
    cursor.skip_blanks()
    if operator in {"<<", "<<-"}:
        return begin_heredoc(cursor, number, operator)
    target = read_word_here(cursor)
    if operator == ">&" and not re.fullmatch(r"[0-9]+-?|-", target.raw):
        cursor.bash_only(">&")
    return Redirect(number, operator, target)
