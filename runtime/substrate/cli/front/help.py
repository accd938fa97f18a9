"""`substrate help [VERB]`."""

from __future__ import annotations

from substrate.cli.front.table import PROGRAM
from substrate.cli.help import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    show(PROGRAM, arguments)
    return 0
