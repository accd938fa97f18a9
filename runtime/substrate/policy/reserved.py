"""The reserved words, and whether one stands where a command begins."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.policy.cursor import Cursor

RESERVED = frozenset(
    (
        *("if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done"),
        *("case", "esac", "select", "function", "time", "coproc", "{", "}", "!", "[["),
    )
)
_RESERVED = re.compile(
    rf"(?:{'|'.join(map(re.escape, sorted(RESERVED, key=len, reverse=True)))})"
    r"(?=[ \t\n;&|<>()]|\\\n|\Z)"
)


def reserved_word(cursor: Cursor) -> str:
    """Return the reserved word at the cursor, "" when there is none."""
    found = _RESERVED.match(cursor.text, cursor.pos)
    if found is None:
        return ""
    if cursor.text.startswith("\\\n", found.end()):
        cursor.unreadable("a reserved word on a continued line")
    return found.group()
