"""`fork ID NEW-ID`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.report import warn
from substrate.cli.terminal import write
from substrate.world.fork import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    world_id, new_id = arguments.operands
    done = fork(context_of(arguments), world_id, new_id, arguments.text("at"), warn)
    if arguments.flag("json"):
        told = {
            "world": done.world_id,
            "origin": done.origin,
            "at": done.point,
            "layers": list(done.layers),
        }
        write(jsontext.dumps(told, 2) + "\n")
        return 0
    at = "" if done.point is None else f" at {done.point}"
    count = len(done.layers)
    layers = "1 layer" if count == 1 else f"{count} layers"
    write(f"forked {done.origin}{at} as {done.world_id}, with {layers} of spans\n")
    return 0
