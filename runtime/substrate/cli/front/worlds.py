"""`substrate worlds`."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.front.calls import context_of
from substrate.cli.table import format_table
from substrate.cli.terminal import write
from substrate.errors import SubstrateError
from substrate.world.listing import read_state
from substrate.world.store import list_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments
    from substrate.world.context import Context


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    rows = _rows(context_of(arguments))
    if arguments.flag("json"):
        names = ("id", "status", "project", "created")
        listed = [dict(zip(names, row, strict=True)) for row in rows]
        write(jsontext.dumps(listed, 2) + "\n")
    else:
        write(format_table(("ID", "STATUS", "PROJECT", "CREATED"), rows))
    return 0


def _rows(context: Context) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    for world_id in list_ids(context):
        try:
            state = read_state(context, world_id)
        except SubstrateError:
            continue  # it is being made or removed right now
        project = "" if state.layer is None else state.layer.project
        rows.append((world_id, state.current_status, project, state.created[:19] + "Z"))
    return rows
