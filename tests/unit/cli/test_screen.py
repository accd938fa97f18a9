"""Whether what a command has shown ends where a line begins."""

from __future__ import annotations

import pytest

from substrate.cli.front.screen import begins_line


@pytest.mark.parametrize(
    ("tail", "begins"),
    [
        (b"", True),
        (b"a\r\n", True),
        (b"abc", False),
        (b"a\nbcd", False),
        (b"done\r\x1b[K", True),
        (b"\r100%", False),
        (b"x\n\x1b[0m\x1b[?25h", True),
        (b"x\n\x1b]0;title\x07", True),
        (b"x\n\x1b]0;title\x1b\\", True),
        (b"text of an editor\x1b[?1049l\x1b[?1l\x1b>", True),
        (b"text of an editor\x1b[?1049lleft", False),
        (b"^C", False),
        ("caf\u00e9".encode(), False),
    ],
)
def test_the_end_of_a_line_is_known(tail: bytes, *, begins: bool) -> None:
    assert begins_line(tail) is begins
