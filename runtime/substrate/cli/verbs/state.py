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
    told = state.to_oci()
    if state.layer is not None:
        from substrate.world.stack import read_layers

        layers = read_layers(state.data)
        told["substrate"]["layers"] = [
            {"number": layer.number, "span": layer.span_id} for layer in layers
        ]
    write(jsontext.dumps(told, 2) + "\n")
    return 0
