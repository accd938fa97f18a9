"""`substrate end`."""

from __future__ import annotations

from substrate.cli.front.calls import existing_world
from substrate.errors import RefusedError
from substrate.filesystem.render import stat_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    world = existing_world(arguments)
    if not arguments.flag("force"):
        changes = world.changes()
        if not changes.empty:
            message = f"the session has changes that are nowhere else: {stat_line(changes)}"
            raise RefusedError(message, "substrate end --force, after a look at substrate diff")
    world.destroy()
    return 0
