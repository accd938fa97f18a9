"""`undo ID`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.progress import ProgressLine
from substrate.cli.report import reporter, warn
from substrate.cli.terminal import write
from substrate.filesystem.entries import path_text
from substrate.printable import quote
from substrate.world.undo import undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    line = ProgressLine("undoing")
    dry_run = arguments.flag("dry_run")
    try:
        done = undo(
            context_of(arguments), arguments.operands[0], warn, line,
            number=arguments.number("accept") or 0,
            theirs=arguments.flag("theirs"), dry_run=dry_run,
        )  # fmt: skip
    finally:
        line.end()
    if arguments.flag("json"):
        told = {
            "world": done.world_id,
            "accept": done.number,
            "applied": not dry_run,
            "dry_run": dry_run,
            "conflicts": [{"path": path_text(path), "reason": why} for path, why in done.conflicts],
            "paths": [path_text(path) for path in done.paths],
            "left": done.left,
        }
        write(jsontext.dumps(told, 2) + "\n")
        return 0
    if dry_run:
        write("".join(f"{quote(path)}\n" for path in done.paths))
        write("".join(f"{quote(path)}: {why}\n" for path, why in done.conflicts))
    word = "would undo" if dry_run else "undid"
    write(f"{word} accept {done.number}, {len(done.paths)} paths; {done.left} more can be undone\n")
    if not dry_run:
        shows = reporter.command("diff", done.world_id)
        write(f"{shows} shows what is a change of the world again\n")
    return 0
