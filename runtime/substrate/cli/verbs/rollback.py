"""`rollback ID [POINT]`."""

from __future__ import annotations

from substrate.cli.calls import context_of
from substrate.cli.terminal import write
from substrate.errors import UsageError
from substrate.world.rollback import rollback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    world_id, *points = arguments.operands
    if bool(points) == arguments.flag("all"):
        message = "rollback takes a span or snapshot, or --all for the beginning"
        raise UsageError(message, "substrate-runtime diff ID --span SPAN shows what a span changed")
    dropped = rollback(context_of(arguments), world_id, points[0] if points else None)
    write("".join(f"dropped {span_id}\n" for span_id in dropped))
    return 0
