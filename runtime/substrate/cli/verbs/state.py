"""`state ID`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import write
from substrate.world.listing import read_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    state = read_state(context_of(arguments), arguments.operands[0])
    write(jsontext.dumps(state.to_oci(), 2) + "\n")
    return 0
