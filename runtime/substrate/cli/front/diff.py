"""`substrate diff [PATH…]`."""

from __future__ import annotations

from substrate.cli.front.calls import existing_world
from substrate.cli.parse import Arguments
from substrate.cli.verbs import diff as verb


def run(arguments: Arguments) -> int:
    """Carry out the verb: that of `substrate-runtime` on the world of the session."""
    world_id = existing_world(arguments).session.world_id
    return verb.run(Arguments("diff", arguments.values(), (world_id, *arguments.operands)))
