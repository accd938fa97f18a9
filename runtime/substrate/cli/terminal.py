"""Standard output for verbs: bytes as they are, nothing that can drive a terminal.

Verbs print through `write`, never `print`: a path may hold bytes that are no text in any locale,
and a reader that has gone away (`… | head`) must be told apart from a broken pipe inside.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


class OutputClosedError(BrokenPipeError):
    """Nobody reads standard output any more."""


def write(text: str) -> None:
    """Write text to standard output; undecodable bytes come out as they came in.

    Raises `OutputClosedError` when the reader has gone. Text from a world belongs through
    `printable` first.
    """
    # A caller may have closed descriptor 1 altogether.
    if sys.stdout is None:
        return
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A lone surrogate that stands for no byte, as JSON's \ud800 gives.
        data = text.encode("utf-8", "backslashreplace")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    except OSError as error:
        raise _output_error(error) from None


def flush() -> None:
    """Hand everything written to the kernel; raises as `write` does."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _output_error(error) from None


def printable(text: str) -> str:
    """Return text with everything but printable characters and spaces as escapes.

    Control characters can rewrite a terminal, direction marks can reorder what is read.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    """Return text of several lines, each made printable."""
    return "\n".join(map(printable, text.split("\n")))


def has_colour(stream: TextIO | None) -> bool:
    """Return whether escape sequences are welcome: on a terminal, without NO_COLOR."""
    if (
        stream is None
        or stream.closed
        or os.environ.get("NO_COLOR")
        or os.environ.get("TERM") == "dumb"
    ):
        return False
    return stream.isatty()


def _output_error(error: OSError) -> OSError:
    if isinstance(error, BrokenPipeError):
        return OutputClosedError(*error.args)
    return OSError(error.errno, error.strerror, "standard output")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
