"""`kill ID [SIGNAL]`."""

from __future__ import annotations

from substrate.cli.calls import context_of, for_each, matching_ids
from substrate.world.kill import kill, signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    context = context_of(arguments)
    words = arguments.operands[1:]
    signal = signal_number(words[0] if words else "TERM")
    everybody = arguments.flag("all")
    return for_each(
        matching_ids(arguments, context),
        lambda world_id: kill(context, world_id, signal, everybody=everybody),
    )
