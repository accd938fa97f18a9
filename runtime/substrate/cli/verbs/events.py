"""`events ID`."""

from __future__ import annotations

import time

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import write
from substrate.errors import WorldNotFoundError, WorldStateError
from substrate.world.control import statistics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    context, world_id = context_of(arguments), arguments.operands[0]
    write(jsontext.dumps(statistics(context, world_id)) + "\n")
    if arguments.flag("stats"):
        return 0
    interval_s = arguments.number("interval") or 5
    while True:
        time.sleep(interval_s)
        try:
            told = statistics(context, world_id)
        except (WorldStateError, WorldNotFoundError):
            # It has ended, and so have its events.
            return 0
        write(jsontext.dumps(told) + "\n")
