"""`delete ID`."""

from __future__ import annotations

from substrate.cli.calls import context_of, for_each, matching_ids
from substrate.cli.report import warn
from substrate.world.delete import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    context = context_of(arguments)
    force = arguments.flag("force")
    return for_each(
        matching_ids(arguments, context),
        lambda world_id: delete(context, world_id, warn, force=force),
    )
