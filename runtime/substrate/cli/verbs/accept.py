"""`accept ID [PATH…]`."""

from __future__ import annotations

import sys

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.progress import ProgressLine
from substrate.cli.report import reporter, warn
from substrate.cli.terminal import flush, has_colour, write
from substrate.errors import UsageError
from substrate.filesystem.accept import Wish
from substrate.filesystem.entries import path_text
from substrate.filesystem.render import change_lines, stat_line
from substrate.printable import quote
from substrate.world.accept import accept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments
    from substrate.world.accept import Accepted


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    force = arguments.flag("force")
    wish = Wish(
        paths=arguments.operands[1:],
        theirs=arguments.flag("theirs") or force,
        ours=arguments.flag("ours"),
        allow_risky=arguments.flag("allow_risky") or force,
        risky=arguments.many("risky"),
        dry_run=arguments.flag("dry_run"),
    )
    if wish.theirs and wish.ours:
        message = "the world's version and the host's cannot both win"
        raise UsageError(message, "use one of --theirs and --ours")
    as_json = arguments.flag("json")
    line = ProgressLine("accepting")
    seen: list[Accepted] = []
    try:
        done = accept(context_of(arguments), arguments.operands[0], wish, warn, line, seen.append)
    except BaseException:
        line.end()
        if as_json and seen:
            _print_json(seen[0], dry_run=wish.dry_run)
            flush()
        raise
    line.end()
    if as_json:
        _print_json(done, dry_run=wish.dry_run)
    else:
        _print(done, dry_run=wish.dry_run)
    return 0


def _print(done: Accepted, *, dry_run: bool) -> None:
    for path, reason in (*done.choice.overruled, *done.choice.kept):
        side = "the world's version wins" if done.choice.overruled else "the host's stays"
        warn(f"{quote(path)}: {reason}; {side}")
    if done.diff.empty:
        write("nothing to accept\n")
        return
    if dry_run:
        lines = change_lines(done.diff, colour=has_colour(sys.stdout))
        write("".join(f"{line}\n" for line in lines))
        write(f"would accept {stat_line(done.diff)}\n")
        return
    write(f"accepted {stat_line(done.diff)}\n")
    if done.number:
        write(f"{reporter.command('undo', done.world_id)} takes it back\n")


def _print_json(done: Accepted, *, dry_run: bool) -> None:
    choice = done.choice
    told: dict[str, Any] = {
        "world": done.world_id,
        "accept": done.number,
        "applied": bool(done.number),
        "dry_run": dry_run,
        "conflicts": _pairs(choice.conflicts),
        "overruled": _pairs(choice.overruled),
        "kept": _pairs(choice.kept),
        "risky": [{"path": path_text(path), "risky": list(why)} for path, why in choice.risky],
        "fs_diff": done.diff.to_json(),
    }
    write(jsontext.dumps(told, 2) + "\n")


def _pairs(pairs: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"path": path_text(path), "reason": reason} for path, reason in pairs]
