"""`substrate completion SHELL`."""

from __future__ import annotations

from substrate.cli.completion import show
from substrate.cli.front.table import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    return show(PROGRAM, arguments)
