"""`pause ID`."""

from __future__ import annotations

from substrate.cli.calls import context_of
from substrate.world.control import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    pause(context_of(arguments), arguments.operands[0])
    return 0
