"""`diff ID [PATH…]`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import write
from substrate.world.diff import diff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    found = diff(context_of(arguments), arguments.operands[0])
    if arguments.flag("json"):
        write(jsontext.dumps(found.to_json(), 2) + "\n")
    return 0
