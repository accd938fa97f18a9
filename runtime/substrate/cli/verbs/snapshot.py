"""`snapshot ID NAME`."""

from __future__ import annotations

from substrate.cli.calls import context_of
from substrate.world.rollback import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    snapshot(context_of(arguments), *arguments.operands)
    return 0
