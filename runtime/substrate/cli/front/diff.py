"""`substrate diff [PATH…]`."""

from __future__ import annotations

from substrate.bundle.extension import DiffSettings
from substrate.cli.front.calls import context_of, existing_world
from substrate.cli.parse import Arguments
from substrate.cli.verbs import diff as verb
from substrate.errors import SubstrateError
from substrate.trace.changes import read_changes
from substrate.trace.directory import trace_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff


def run(arguments: Arguments) -> int:
    """Carry out the verb: that of `substrate-runtime` on the world of the session."""
    found = _of_ended_world(arguments)
    if found is not None:
        verb.show(found, arguments, DiffSettings().max_entries)
        return 0
    world_id = existing_world(arguments).session.world_id
    return verb.run(Arguments("diff", arguments.values(), (world_id, *arguments.operands)))


def _of_ended_world(arguments: Arguments) -> FsDiff | None:
    """Return what a span changed whose world is gone, as the trace has kept it."""
    span_id = arguments.text("span")
    if span_id is None:
        return None
    kept = read_changes(trace_directory(context_of(arguments).data), span_id)
    if kept is None:
        return None
    if arguments.flag("patch"):
        message = f"the files of span {span_id} are not there: its world has ended"
        raise SubstrateError(message, f"substrate diff --span {span_id}")
    from substrate.filesystem.recorded import from_json
    from substrate.world.parts import only, relative_path

    found = from_json(kept)
    paths = [relative_path(path, "/") for path in arguments.operands]
    return only(found, paths) if paths else found
