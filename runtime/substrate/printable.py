"""Text that a payload chose, made safe to show on a terminal.

Whatever could move the cursor, change colours, hide a line or turn the direction of writing is
shown as a backslash escape, and so is what is not UTF-8.
"""

from __future__ import annotations

import os

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}


def quote(text: str) -> str:
    """Return a text that is safe to print on a terminal, on one line, and can be told apart."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_quote_character, _with_joined_bytes(text)))


def escape(character: str) -> str:
    """Return a character that is not printable as the backslash escape that stands for it."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _with_joined_bytes(text: str) -> str:
    """Return the text with escaped bytes that are UTF-8 together as the character they are."""
    try:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A lone surrogate that stands for no byte, as JSON's \ud800 gives.
        return text


def _quote_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    return character if character.isprintable() else escape(character)
