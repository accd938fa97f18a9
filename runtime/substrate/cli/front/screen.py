"""Where a terminal's cursor is, as far as the end of what was shown tells."""

from __future__ import annotations

# Back from the screen that full-screen programs have for themselves: the cursor is where it was.
_RETURNS = (b"\x1b[?1049l", b"\x1b[?1047l", b"\x1b[?47l")


def begins_line(tail: bytes) -> bool:
    """Whether the cursor stands where a line begins; `tail` is the end of what was shown."""
    if not tail or tail.endswith(b"\n"):
        return True
    import re

    for text in _RETURNS:
        tail = tail.rpartition(text)[2]
    last = re.split(rb"[\r\n]", tail)[-1]
    # What moves or colours and shows nothing: sequences with parameters, titles, single letters.
    silent = rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])"
    shown = re.sub(silent, b"", last)
    return not shown.strip(b"\x00\x07\x08")
