"""`discard ID [PATH…]`."""

from __future__ import annotations

import sys

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.progress import ProgressLine
from substrate.cli.report import warn
from substrate.cli.terminal import has_colour, write
from substrate.errors import UsageError
from substrate.filesystem.render import change_lines, stat_line
from substrate.world.discard import Discarded, discard
from substrate.world.rollback import drop_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    line = ProgressLine("discarding")
    dry_run = arguments.flag("dry_run")
    world_id, paths = arguments.operands[0], arguments.operands[1:]
    span = arguments.text("span")
    try:
        if span is None:
            done = discard(context_of(arguments), world_id, paths, warn, line, dry_run=dry_run)
        elif paths:
            message = "--span drops all that a span has changed"
            raise UsageError(message, "name either a span or paths")
        else:
            diff = drop_span(context_of(arguments), world_id, span, dry_run=dry_run)
            done = Discarded(world_id, diff)
    finally:
        line.end()
    if arguments.flag("json"):
        told = {
            "world": done.world_id,
            "applied": not dry_run,
            "dry_run": dry_run,
            "fs_diff": done.diff.to_json(),
        }
        write(jsontext.dumps(told, 2) + "\n")
        return 0
    if done.diff.empty:
        write("nothing to discard\n")
        return 0
    if dry_run:
        lines = change_lines(done.diff, colour=has_colour(sys.stdout))
        write("".join(f"{line}\n" for line in lines))
    write(f"{'would discard' if dry_run else 'discarded'} {stat_line(done.diff)}\n")
    return 0
