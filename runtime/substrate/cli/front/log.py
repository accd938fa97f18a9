"""`substrate log`: the commands of the session, newest last."""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.cli.front.calls import context_of, spec_of
from substrate.cli.table import format_table
from substrate.cli.terminal import write
from substrate.errors import SubstrateError, WorldNotFoundError
from substrate.trace.directory import trace_directory
from substrate.trace.index import Index
from substrate.trace.show import command_text
from substrate.world.kill import world_processes
from substrate.world.store import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments
    from substrate.world.context import Context

_HEAD = ("TIME", "SPAN", "STATUS", "CHANGED", "COMMAND")
_LONGEST = 100
_SHOWN = 20


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    world_id = None if arguments.flag("all") else spec_of(arguments).id
    most = arguments.number("number")
    context = context_of(arguments)
    directory = trace_directory(context.data)
    spans = _spans(directory, world_id) if os.path.isdir(directory) else []
    shown = spans[-(_SHOWN if most is None else most) :] if most != 0 else []
    _tell_lost(context, shown)
    if arguments.flag("json"):
        write("".join(jsontext.dumps(span) + "\n" for span in shown))
    else:
        write(format_table(_HEAD, [_row(span) for span in shown]))
    return 0


def _spans(directory: str, world_id: str | None) -> list[dict[str, Any]]:
    """Return start and end of every command as one object, in the order of their starts."""
    found: dict[str, dict[str, Any]] = {}
    with Index(directory) as index:
        for located in index.select():
            data = located.data
            if world_id is not None and data.get("world_id") != world_id:
                continue
            kind, span_id = data.get("event_type"), str(data.get("span_id", ""))
            if kind == "command_start":
                found[span_id] = {**data}
            elif kind == "policy" and data.get("argv"):
                found[span_id] = {**data, "exit": 126}
            elif kind == "command_complete" and span_id in found:
                ended = {key: value for key, value in data.items() if key not in ("ts", "v")}
                found[span_id] |= ended
    return list(found.values())


def _tell_lost(context: Context, spans: list[dict[str, Any]]) -> None:
    """Mark commands whose end nobody put on record: who stayed with them was killed."""
    resting: dict[str, bool] = {}
    for span in spans:
        world_id = str(span.get("world_id") or "")
        if "exit" in span:
            continue
        if world_id not in resting:
            resting[world_id] = _is_resting(context, world_id)
        if resting[world_id]:
            span["end"] = "not recorded"


def _is_resting(context: Context, world_id: str) -> bool:
    """Whether no command runs in a world; not known, and so not, of the host."""
    try:
        with World.open(context, world_id) as world:
            state = world.read()
            return state.idle and set(world_processes(state, world.path)) <= {state.pid}
    except WorldNotFoundError:
        return True
    except SubstrateError:
        return False


def _row(span: dict[str, Any]) -> tuple[str, ...]:
    diff: dict[str, Any] = span.get("fs_diff") or {}
    summary: dict[str, int] = diff.get("summary") or {}
    changed = summary.get("files", 0) + summary.get("dirs", 0)
    # The line feeds of a command are told from its end.
    command = command_text(span).removeprefix("$ ")
    if len(command) > _LONGEST:
        command = command[: _LONGEST - 1] + "…"
    return (
        str(span.get("ts", ""))[:19].replace("T", " "),
        str(span.get("span_id", "")),
        _status(span),
        str(changed or ""),
        command,
    )


def _status(span: dict[str, Any]) -> str:
    if span.get("event_type") == "policy":
        return "denied"
    return str(span.get("exit", "lost" if "end" in span else "running"))
