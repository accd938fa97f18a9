"""`start ID`."""

from __future__ import annotations

from substrate.cli.calls import context_of
from substrate.cli.report import warn
from substrate.world.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    start(context_of(arguments), arguments.operands[0], warn)
    return 0
