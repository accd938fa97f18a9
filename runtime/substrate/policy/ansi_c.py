r"""Reading `$'…'`, bash's strings with the escapes of C (bash manual, ANSI-C Quoting)."""

from __future__ import annotations

import re

from substrate.policy.syntax import UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.policy.cursor import Cursor

_STRING = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|(.))",
    re.DOTALL,
)
_PLAIN = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "?": "?",
}


def read_ansi_c(cursor: Cursor) -> str:
    """Return the string at the cursor, UNKNOWN in it for what depends on the locale."""
    found = _STRING.match(cursor.text, cursor.pos)
    if found is None:
        cursor.unreadable("$' without its end")
    text = _ESCAPE.sub(_replacement, found.group(1))
    cursor.pos = found.end()
    return text


def _replacement(escape: re.Match[str]) -> str:
    octal, hexadecimal, short, long, letter = escape.groups()
    if letter is not None:
        # \cX is a control character; what else has no meaning keeps its backslash.
        return UNKNOWN if letter in "cxuU" else _PLAIN.get(letter, "\\" + letter)
    value = int(octal, 8) if octal else int(hexadecimal or short or long, 16)
    # NUL ends the string in some versions; a byte above ASCII is a letter only with others.
    return chr(value) if 0 < value < 128 else UNKNOWN
