"""`gc`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.report import warn
from substrate.cli.terminal import printable, write
from substrate.errors import SubstrateError
from substrate.world.leftovers import FAILED, FOUND, KEPT, REMOVED, Leftover, Sweep, collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments

_WORDS = {REMOVED: "removed", FOUND: "would remove", KEPT: "kept", FAILED: "could not remove"}


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    sweep = Sweep(arguments.flag("dry_run"), arguments.flag("layers"), warn)
    as_json = arguments.flag("json")
    found: list[Leftover] = []
    for leftover in collect(context_of(arguments), sweep):
        found.append(leftover)
        if not as_json:
            write(_told(leftover))
    if as_json:
        write(jsontext.dumps([leftover.to_json() for leftover in found]) + "\n")
    failed = [leftover.path for leftover in found if leftover.outcome == FAILED]
    if failed:
        message = f"could not remove {len(failed)} of {len(found)} leftovers: {failed[0]}"
        raise SubstrateError(message, "substrate-runtime gc --dry-run lists the manual commands")
    return 0


def _told(leftover: Leftover) -> str:
    what = f"{_WORDS[leftover.outcome]}: {leftover.kind} {leftover.path}"
    lines = [f"{what} ({leftover.reason})"]
    if leftover.outcome != REMOVED:
        lines.append(f"  {leftover.command}")
    return "".join(f"{printable(line)}\n" for line in lines)
