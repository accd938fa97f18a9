"""accept, discard and undo of a session: the runtime's verbs on its world, put on record."""

from __future__ import annotations

from substrate.cli import report
from substrate.cli.front.calls import existing_world, reporter
from substrate.cli.front.table import NAME
from substrate.cli.parse import Arguments
from substrate.errors import SubstrateError
from substrate.filesystem.entries import make_diff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.entries import FsDiff


def change(action: str, arguments: Arguments, carry_out: Callable[[Arguments], int]) -> int:
    """Carry out a verb of `substrate-runtime` on the world of the session."""
    world = existing_world(arguments)
    # What it tells is told under our name.
    report.reporter.program, report.reporter.spoken = NAME, reporter.spoken
    operands = (world.session.world_id, *arguments.operands)
    before = world.changes()
    try:
        status = carry_out(Arguments(action, arguments.values(), operands))
    except SubstrateError as error:
        world.record_change(action, None, error.message)
        error.hint = _own_words(error.hint, world.session.world_id)
        raise
    if not arguments.flag("dry_run"):
        after = world.changes()
        changed = _no_more(after, before) if action == "undo" else _no_more(before, after)
        world.record_change(action, changed)
    world.close()
    return status


def _own_words(hint: str, world_id: str) -> str:
    """Return a hint of the runtime with the commands that a person types who uses us."""
    for verb in ("diff", "accept", "discard", "undo"):
        for name in (world_id, "ID"):
            spoken = reporter.command(verb, world_id)
            hint = hint.replace(f"substrate-runtime {verb} {name}", spoken)
    return hint


def _no_more(before: FsDiff, after: FsDiff) -> FsDiff:
    """Return the changes that are not to be made any more: given to the project, or dropped.

    The other way round these are the changes that have come back by an undo.
    """
    left = {(entry.change, entry.path, entry.origin) for entry in after.entries}
    return make_diff(
        [one for one in before.entries if (one.change, one.path, one.origin) not in left]
    )
