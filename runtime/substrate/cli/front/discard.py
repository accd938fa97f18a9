"""`substrate discard`."""

from __future__ import annotations

from substrate.cli.front.changing import change
from substrate.cli.verbs import discard as verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    return change("discard", arguments, verb.run)
