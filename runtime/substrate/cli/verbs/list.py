"""`list`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.report import warn
from substrate.cli.table import format_table
from substrate.cli.terminal import write
from substrate.world.listing import all_states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    found = [state.to_oci() for state in all_states(context_of(arguments), warn)]
    if arguments.flag("quiet"):
        write("".join(f"{state['id']}\n" for state in found))
    elif arguments.flag("json") or arguments.text("format") == "json":
        write(jsontext.dumps(found) + "\n")
    else:
        rows = [tuple(str(state[column]) for column in _COLUMNS) for state in found]
        write(format_table(tuple(column.upper() for column in _COLUMNS), rows))
    return 0
