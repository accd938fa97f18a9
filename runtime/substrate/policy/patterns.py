"""Patterns of commands, as `rm -rf *`, and whether a call is one of them.

A pattern is a name, options and operands. Two questions are asked of it. `stops`: would this
call be what is denied or isolated, however it is written? It answers maybe where only the shell
knows. `covers`: is this call surely no more than what is allowed? Whoever has to ask the first
does not want to miss one, whoever asks the second does not want to let one through; so they are
not each other's opposite. docs/explanation/policy.md has the rules in words.
"""

from __future__ import annotations

import fnmatch
import os.path
import re
import shlex

from substrate.policy.commandwords import Given, given_words
from substrate.policy.programs import SYNONYMS, WHOLE_WORD_OPTIONS
from substrate.policy.syntax import UNKNOWN
from substrate.policy.unwrapping import program_name
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from substrate.policy.syntax import Word
    from substrate.policy.unwrapping import Call

NO, MAYBE, YES = 0, 1, 2
ANY = "*"
LONGEST = 1000
_STANDARD = ("/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/")
_SHELL_SYNTAX = re.compile(r"[;&|<>()`$\n]")
_GLOB = re.compile(r"[*?\[]")


@record
class Pattern:
    """One pattern, taken apart; `rest`: its last word is `*`, anything may follow."""

    text: str
    name: str
    words: tuple[str, ...]
    options: tuple[str, ...]
    operands: tuple[str, ...]
    rest: bool


def pattern_fault(text: str) -> str:
    """Say what is wrong with a pattern, an empty string when nothing is."""
    if not text.strip() or len(text) > LONGEST:
        return f"a command expected, as in `rm -rf *`, of at most {LONGEST} characters"
    if "\0" in text or _SHELL_SYNTAX.search(text):
        return "one command, without any syntax of the shell, expected"
    try:
        words = shlex.split(text)
    except ValueError:
        return "a quote without its end"
    # A variable is no name either.
    if not words or words[0].startswith("-") or "=" in words[0].partition("/")[0]:
        return "the name of a program comes first"
    return ""


def parse_pattern(text: str) -> Pattern:
    """Take a pattern apart; `pattern_fault` says whether it is one."""
    name, *words = shlex.split(text)
    rest = bool(words) and words[-1] == ANY
    if rest:
        words.pop()
    options: list[str] = []
    operands: list[str] = []
    ended = False
    for word in words:
        if word == "--":
            ended = True
        elif word.startswith("-") and len(word) > 1 and not ended:
            options.append(word)
        else:
            operands.append(word)
    return Pattern(text, name, tuple(words), tuple(options), tuple(operands), rest)


def stops(pattern: Pattern, call: Call, given: Given | None = None) -> int:
    """Return YES, MAYBE or NO: whether the call is what the pattern names, or more than that."""
    name = program_name(call.words[0])
    if name is None or not _name_stops(pattern.name, call.words[0].text, name):
        return NO
    given = given_words(name, call.words[1:]) if given is None else given
    answer = YES
    for option in pattern.options:
        answer = min(answer, _has_option(name, option, given))
        if answer == NO:
            return NO
    return min(answer, _operands_stop(pattern.operands, given))


def covers(pattern: Pattern, call: Call) -> bool:
    """Whether the call is surely what the pattern names: word by word, in its order."""
    first = call.words[0]
    if not first.known or not _name_covers(pattern.name, first.text):
        return False
    words = call.words[1:]
    if len(words) < len(pattern.words) or (len(words) > len(pattern.words) and not pattern.rest):
        return False
    return all(
        word.known and _word_covers(wanted, word.text)
        for wanted, word in zip(pattern.words, words, strict=False)
    )


def _name_stops(wanted: str, path: str, name: str) -> bool:
    if "/" in wanted:
        # The same name without a directory may be the same program.
        return fnmatch.fnmatchcase(os.path.normpath(path), wanted) or (
            "/" not in path and fnmatch.fnmatchcase(name, wanted.rsplit("/", 1)[1])
        )
    return fnmatch.fnmatchcase(name, wanted)


def _name_covers(wanted: str, path: str) -> bool:
    if "/" in wanted or wanted == ANY:
        return fnmatch.fnmatchcase(path, wanted)
    directory, name = os.path.split(path)
    return fnmatch.fnmatchcase(name, wanted) and (not directory or f"{directory}/" in _STANDARD)


def _word_covers(wanted: str, text: str) -> bool:
    if fnmatch.fnmatchcase(text, wanted):
        return True
    clusters = all(
        len(word) > 2 and word[0] == "-" and word[1:].isalnum() for word in (wanted, text)
    )
    return clusters and sorted(wanted) == sorted(text)


def _has_option(name: str, option: str, given: Given) -> int:
    synonyms = SYNONYMS.get(name, {})
    if option.startswith("--") or len(option) == 2 or name in WHOLE_WORD_OPTIONS:
        wanted = [option]
    else:
        wanted = [f"-{letter}" for letter in option[1:]]
    found = all(any(given.has(same) for same in _same_options(one, synonyms)) for one in wanted)
    if found:
        return YES
    return MAYBE if given.more_options else NO


def _same_options(option: str, synonyms: dict[str, str]) -> list[str]:
    meaning = synonyms.get(option, option)
    return [option, meaning, *(other for other, same in synonyms.items() if same == meaning)]


def _operands_stop(wanted: Sequence[str], given: Given) -> int:
    if not wanted or _align(wanted, given, certain=True):
        return YES
    return MAYBE if _align(wanted, given, certain=False) else NO


def _align(wanted: Sequence[str], given: Given, certain: bool) -> bool:
    """Whether the wanted operands begin the given ones; `*` alone stands for any number.

    The states of a small automaton: how many of `wanted` the operands so far have used up.
    """
    states = _closure({0}, wanted)
    for operand in given.operands:
        following: set[int] = set()
        for state in states:
            if state == len(wanted):
                return True
            pattern = wanted[state]
            if pattern == ANY:
                following.add(state)
                continue
            if _operand_stops(pattern, operand.word, certain):
                following.add(state + 1)
                if operand.word.many and not certain:
                    following.update(range(state, len(wanted) + 1))
            if not certain and (operand.optional or operand.word.many):
                following.add(state)
        states = _closure(following, wanted)
        if not states:
            return False
    return len(wanted) in states


def _closure(states: set[int], wanted: Sequence[str]) -> set[int]:
    found = set(states)
    for state in sorted(states):
        following = state
        while following < len(wanted) and wanted[following] == ANY:
            following += 1
            found.add(following)
    return found


def _operand_stops(wanted: str, word: Word, certain: bool) -> bool:
    text = word.text
    if word.raw.startswith("~") and fnmatch.fnmatchcase(_normal(word.raw), wanted):
        return True
    if word.known:
        if fnmatch.fnmatchcase(text, wanted):
            return True
        # `//`, `/.` and `/x/..` name the same directory.
        return text.startswith("/") and fnmatch.fnmatchcase(_normal(text), wanted)
    if certain:
        return False
    fixed = text.partition(UNKNOWN)[0]
    wanted_start = _GLOB.split(wanted, maxsplit=1)[0]
    return fixed.startswith(wanted_start) or wanted_start.startswith(fixed)


def _normal(path: str) -> str:
    normal = os.path.normpath(path)
    # POSIX lets `//` mean something else; Linux does not.
    return normal[1:] if normal.startswith("//") else normal
