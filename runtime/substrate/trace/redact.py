"""Secrets out of a command, word by word.

The value of a secret is replaced whole by `[redacted]`, never shown in part. The words stay as
many as they were, in their order; a word without a secret stays what it was to the byte. The
exact words are in the span record, which is not shipped.

Found are settings by their name (`--token=…`, `--token …`, `TOKEN=…`, `"password": "…"`,
`Authorization: …`), options by their program (`mysql -p…`), passwords of URLs, tokens and private
keys by their shape, and what `Rules` adds. What looks like none of these is not found: a secret
belongs into a file or a descriptor, not on a command line.
"""

from __future__ import annotations

from substrate.record import record
from substrate.trace.secret_options import told_by_options
from substrate.trace.secrets import SHAPES, is_secret_name, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    # Where a secret is in a text: its first character, and the one behind its last.
    Place = tuple[int, int]

REDACTED = "[redacted]"
_NAME = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_LONGEST_NAME = 64
# Ends an unquoted value inside a text.
_ENDS = " \t\r\n&;,'\"`|<>"
_QUOTES = "'\"`"
_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))
_SHORTEST_TOKEN = 18
_SHORTEST_LITERAL = 4
_USER_ALONE = 20
_KEY_BEGIN, _KEY_END = "-----BEGIN ", "PRIVATE KEY-----"


@record
class Rules:
    """What is secret besides what everybody's secrets look like.

    `names`: further names of settings. `values`: secrets known by value, as of an environment
    that was given to the command. `patterns`: regular expressions; what they match is secret.
    """

    names: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


NO_RULES = Rules()


def redact_argv(argv: Sequence[str], rules: Rules = NO_RULES) -> tuple[tuple[str, ...], int]:
    """Return the words of a command without its secrets, and how many values were replaced."""
    told = dict(told_by_options(argv, rules.names))
    shown: list[str] = []
    total = 0
    for index, word in enumerate(argv):
        places = list(_found(word, rules, is_shell=index > 0 and _takes_script(argv[index - 1])))
        if index in told:
            places.append((told[index], len(word)))
        if places:
            word, count = _replace(word, places)  # noqa: PLW2901 -- the word as it is shown
            total += count
        shown.append(word)
    return tuple(shown), total


def redact_text(text: str, rules: Rules = NO_RULES) -> tuple[str, int]:
    """Return a shell text without its secrets, and how many values were replaced."""
    return _replace(text, list(_found(text, rules, is_shell=True)))


def _replace(text: str, places: list[Place]) -> tuple[str, int]:
    parts: list[str] = []
    count = position = 0
    for start, end in _merged(places):
        if start < end and text[start:end] != REDACTED:
            parts += (text[position:start], REDACTED)
            position = end
            count += 1
    return "".join((*parts, text[position:])), count


def _merged(places: list[Place]) -> list[Place]:
    merged: list[Place] = []
    for start, end in sorted(places):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _takes_script(word: str) -> bool:
    """Whether the word behind is a shell's program: `-c`, `-lc`, `-ec`."""
    return word[:1] == "-" and word[-1:] == "c" and word[1:2] != "-" and len(word) < 6


def _found(text: str, rules: Rules, *, is_shell: bool) -> Iterator[Place]:
    if "=" in text:
        yield from _assignments(text, rules, is_shell=is_shell)
    if ":" in text:
        yield from _after_colons(text, rules)
        if "://" in text:
            yield from _passwords_of_urls(text)
    if len(text) >= _SHORTEST_TOKEN:
        yield from _tokens(text)
    if " -" in text:
        yield from _in_script(text, rules)
    for value in rules.values:
        if len(value) >= _SHORTEST_LITERAL:
            yield from ((at, at + len(value)) for at in _occurrences(text, value))
    if rules.patterns:
        yield from _matches(text, rules.patterns)


def _occurrences(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + len(part))


def _name_before(text: str, end: int) -> str:
    """Return the name that ends at a character, at most 64 of its characters."""
    head = text[max(0, end - _LONGEST_NAME) : end]
    return head[len(head.rstrip(_NAME)) :]


def _assignments(text: str, rules: Rules, *, is_shell: bool) -> Iterator[Place]:
    past = 0
    for at in _occurrences(text, "="):
        # What is inside a secret is not looked at again: it may be as long as the text.
        if at < past:
            continue
        name = _name_before(text, at)
        start = at + 1
        # `==` compares, or names a version; behind an option the second sign is the secret's.
        compares = text[start : start + 1] == "=" and name[:1] != "-"
        if not name or compares or not is_secret_name(name, rules.names):
            continue
        if len(name) == at and not is_shell:
            # The word is the assignment, and all that follows is its value, blanks or not.
            yield start, len(text)
            return
        place = _value(text, start)
        past = place[1]
        if not _is_reference(text[slice(*place)]):
            yield place


def _value(text: str, start: int) -> Place:
    """Return where the value that begins at a character is, without its quotes."""
    if text[start : start + 2] in ("$'", "\\'", '\\"'):
        start += 1
    quote = text[start : start + 1]
    if quote and quote in _QUOTES:
        end = text.find(quote, start + 1)
        while end > 0 and quote == '"' and text[end - 1] == "\\" and text[start - 1] != "\\":
            end = text.find(quote, end + 1)
        end = len(text) if end < 0 else end
        return start + 1, end - (text[end - 1 : end] == "\\" and end - 1 > start)
    return start, _first_of(text, start, _ENDS)


def _is_reference(value: str) -> bool:
    """Whether a value of a shell text names where the secret is, and is not the secret."""
    if value.startswith(("$(", "${")):
        return value.startswith("$(") or (value.endswith("}") and not set(value[2:-1]) - set(_NAME))
    return value.startswith("$") and len(value) > 1 and not set(value[1:]) - set(_NAME)


def _after_colons(text: str, rules: Rules) -> Iterator[Place]:
    for at in _occurrences(text, ":"):
        before = text[at - 1 : at]
        if before and before in _QUOTES:
            # "password": "…", perhaps in a string itself: \"password\": \"…\".
            end = at - 2 if text[at - 2 : at - 1] == "\\" else at - 1
            name = _name_before(text, end)
            if name and is_secret_name(name, rules.names):
                start = at + 1
                while text[start : start + 1] == " ":
                    start += 1
                place = _value(text, start)
                if not _is_reference(text[slice(*place)]):
                    yield place
            continue
        name = _name_before(text, at)
        lead = text[at - len(name) - 1 : at - len(name)] if len(name) < at else ""
        if name and (lead == "" or lead in _QUOTES or lead == "\n") and _is_header(name, rules):
            end = text.find(lead or "\n", at)
            start = at + 1 + (text[at + 1 : at + 2] == " ")
            end = len(text) if end < 0 else end
            if not _is_reference(text[start:end].rpartition(" ")[2]):
                yield start, end


def _is_header(name: str, rules: Rules) -> bool:
    # "-H" may be glued to it. A single word and a colon are prose: `-m "token: handle expiry"`.
    plain = name.removeprefix("-H").lower()
    return plain in _HEADERS or ("-" in plain.strip("-") and is_secret_name(plain, rules.names))


def _passwords_of_urls(text: str) -> Iterator[Place]:
    end = 0
    for at in _occurrences(text, "://"):
        start = at + 3
        # One end for all URLs of a word, or a word of nothing but them would be walked each time.
        end = end if end > start else _first_of(text, start, " \t\r\n'\"`<>|;")
        authority = min(_first_of(text, start, "/?#"), end)
        last = text.rfind("@", start, authority)
        colon = text.find(":", start, authority)
        if last < 0 and colon > 0 and not text[colon + 1 : authority].isdecimal():
            # A slash in the password, which should have been encoded.
            last = text.rfind("@", authority, end)
        if last < 0:
            continue
        if 0 < colon < last:
            if not _is_reference(text[colon + 1 : last]):
                yield colon + 1, last
        elif text.endswith(("http", "https"), 0, at) and last - start >= _USER_ALONE:
            yield start, last


def _first_of(text: str, start: int, ends: str) -> int:
    """Return where the first of some characters is, the text's length when there is none."""
    end = start
    while end < len(text) and text[end] not in ends:
        end += 1
    return end


def _tokens(text: str) -> Iterator[Place]:
    for shape in SHAPES:
        if shape.prefix in text:
            yield from tokens(text, shape)
    for word in ("Bearer ", "bearer "):
        for at in _occurrences(text, word):
            start, end = _value(text, at + len(word))
            if end - start >= _SHORTEST_TOKEN and not _is_reference(text[start:end]):
                yield start, end
    for at in _occurrences(text, _KEY_BEGIN):
        if 0 < text.find(_KEY_END, at) < at + _LONGEST_NAME:
            begun = text.find(_KEY_END, at) + len(_KEY_END)
            end = text.find(_KEY_END, begun)
            yield at, len(text) if end < 0 else end + len(_KEY_END)


def _in_script(text: str, rules: Rules) -> Iterator[Place]:
    """Yield what options make secret among the words of a text that is a command itself."""
    starts: list[int] = []
    words = text.split()
    position = 0
    for word in words:
        position = text.index(word, position)
        starts.append(position)
        position += len(word)
    for index, offset in told_by_options(words, rules.names):
        place = _value(text, starts[index] + offset)
        if not _is_reference(text[slice(*place)]):
            yield place


def _matches(text: str, patterns: Iterable[str]) -> Iterator[Place]:
    import re

    for pattern in patterns:
        yield from (match.span() for match in re.finditer(pattern, text))
