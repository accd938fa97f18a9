"""`substrate end`."""

from __future__ import annotations

from substrate.cli.front.calls import context_of, existing_world, reporter, spec_of
from substrate.errors import RefusedError
from substrate.filesystem.render import stat_line
from substrate.world.delete import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    if not arguments.flag("force"):
        changes = existing_world(arguments).changes()
        if not changes.empty:
            message = f"the session has changes that are nowhere else: {stat_line(changes)}"
            raise RefusedError(message, "substrate end --force, after a look at substrate diff")
    delete(context_of(arguments), spec_of(arguments).id or "", reporter.warn, force=True)
    return 0
