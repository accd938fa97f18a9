"""`diff ID [PATH…]`."""

from __future__ import annotations

import sys
from itertools import islice

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import has_colour, printable, write
from substrate.filesystem.render import change_lines, name_status_lines, stat_line
from substrate.world.diff import diff, most_entries, patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.cli.parse import Arguments
    from substrate.filesystem.entries import FsDiff


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    context = context_of(arguments)
    world_id, paths = arguments.operands[0], arguments.operands[1:]
    span_id = arguments.text("span")
    if arguments.flag("patch"):
        lines = patch(context, world_id, paths, span_id)
        if sys.stdout is not None and sys.stdout.isatty():
            # For the eyes; a pipe gets what `git apply` takes.
            lines = [printable(line.expandtabs()) for line in lines]
        write("".join(f"{line}\n" for line in lines))
        return 0
    show(diff(context, world_id, paths, span_id), arguments, most_entries(context, world_id))
    return 0


def show(found: FsDiff, arguments: Arguments, most: int | None) -> None:
    """Print a diff as the options say, at most so many entries unless they say otherwise."""
    touched = arguments.flag("all")
    if arguments.flag("stat"):
        write(stat_line(found) + "\n")
        return
    limit = arguments.number("limit")
    if limit is not None:
        most = limit or None
    if arguments.flag("json"):
        write(jsontext.dumps(found.to_json(touched=touched, most=most), 2) + "\n")
    elif arguments.flag("name_status"):
        _write_lines(name_status_lines(found), most, found)
    else:
        colour = has_colour(sys.stdout)
        _write_lines(change_lines(found, touched=touched, colour=colour), most, found)


def _write_lines(lines: Iterator[str], most: int | None, found: FsDiff) -> None:
    write("".join(f"{line}\n" for line in islice(lines, most)))
    left = sum(1 for _ in lines)
    if left:
        write(f"… and {left} more: {stat_line(found)} (--limit 0 shows all)\n")
