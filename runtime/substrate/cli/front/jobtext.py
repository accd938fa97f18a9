"""What a job in the background says, as it may stand on a person's terminal.

A terminal obeys whoever writes to it: it moves the cursor over the prompt, takes a title, answers
questions by typing. A command in front of the person may ask all that of it, as in any shell; one
in the background gets text, tabs, new lines and colours. The rest is shown as escapes.
"""

from __future__ import annotations

import codecs
import re

from substrate.printable import escape

_LONGEST = 64
_COLOURS = rf"\x1b\[[0-9;:]{{0,{_LONGEST}}}m"
# What needs a look, with the returns of a raw terminal before a new line.
_OTHER = re.compile(rf"{_COLOURS}|\r*\n|\r+|[^ -~]")
_UNFINISHED = re.compile(rf"(?:\x1b(?:\[[0-9;:]{{0,{_LONGEST}}})?|\r+)\Z")
_RESETS = ("\x1b[m", "\x1b[0m")
_RESET = "\x1b[0m"
# Colours build on those before them: foreground, background, weight. More nobody has.
_MOST_COLOURS = 8


class JobText:
    """The text of one terminal, whose sequences may be split over reads."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""
        self._colours: list[str] = []

    def take(self, data: bytes) -> str:
        """Return what is to be shown of what was read; nothing more of it came if it is empty.

        It ends in the colours of whoever writes next, and the next begins in those of its own.
        """
        text = self._held + self._decoder.decode(data, final=not data)
        unfinished = _UNFINISHED.search(text) if data else None
        end = len(text) if unfinished is None else unfinished.start()
        # However many returns there are, they are one.
        self._held = re.sub("\r+", "\r", text[end:])
        before = "".join(self._colours)
        shown = _OTHER.sub(self._show, text[:end])
        return f"{before}{shown}{_RESET * bool(self._colours)}" if shown else ""

    def _show(self, found: re.Match[str]) -> str:
        piece = found[0]
        if piece[0] in "\r\n":
            # A return by itself would let the rest stand over what is there: a line of its own.
            # With its return, since a command in front may have a raw terminal.
            return "\r\n"
        if len(piece) > 1:
            self._colours = [] if piece in _RESETS else [*self._colours, piece][-_MOST_COLOURS:]
            return piece
        return piece if piece == "\t" or piece.isprintable() else escape(piece)
