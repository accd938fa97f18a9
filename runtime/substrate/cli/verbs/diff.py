"""`diff ID [PATH…]`."""

from __future__ import annotations

import sys

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import has_colour, write
from substrate.filesystem.render import change_lines, name_status_lines, stat_line
from substrate.world.diff import diff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    world_id, paths = arguments.operands[0], arguments.operands[1:]
    found = diff(context_of(arguments), world_id, paths, arguments.text("span"))
    touched = arguments.flag("all")
    if arguments.flag("json"):
        write(jsontext.dumps(found.to_json(touched=touched), 2) + "\n")
    elif arguments.flag("stat"):
        write(stat_line(found) + "\n")
    elif arguments.flag("name_status"):
        write("".join(f"{line}\n" for line in name_status_lines(found)))
    else:
        lines = change_lines(found, touched=touched, colour=has_colour(sys.stdout))
        write("".join(f"{line}\n" for line in lines))
    return 0
