"""`diff ID [PATH…]`."""

from __future__ import annotations

import sys

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import has_colour, write
from substrate.filesystem.entries import make_diff
from substrate.filesystem.render import change_lines, name_status_lines, stat_line
from substrate.world.diff import diff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments
    from substrate.filesystem.entries import FsDiff


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    found = diff(context_of(arguments), arguments.operands[0])
    if len(arguments.operands) > 1:
        found = _only(found, arguments.operands[1:])
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


def _only(found: FsDiff, paths: tuple[str, ...]) -> FsDiff:
    """Return the changes at and below some paths of the project; either end of a rename counts."""
    wanted = tuple(path.strip("/") for path in paths)

    def is_wanted(path: str | None) -> bool:
        return path is not None and any(
            not want or path == want or path.startswith(f"{want}/") for want in wanted
        )

    return make_diff(
        [entry for entry in found.entries if is_wanted(entry.path) or is_wanted(entry.origin)]
    )
