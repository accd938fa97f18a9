"""`substrate log`: the commands of the session, newest last."""

from __future__ import annotations

from substrate import jsontext
from substrate.cli.front.calls import context_of, spec_of
from substrate.cli.table import format_table
from substrate.cli.terminal import write
from substrate.trace.directory import trace_directory
from substrate.trace.index import Index
from substrate.trace.show import command_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cli.parse import Arguments

_HEAD = ("TIME", "SPAN", "STATUS", "CHANGED", "COMMAND")
_LONGEST = 100
_SHOWN = 20


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    world_id = None if arguments.flag("all") else spec_of(arguments).id
    most = arguments.number("number")
    spans = _spans(trace_directory(context_of(arguments).data), world_id)
    shown = spans[-(_SHOWN if most is None else most) :] if most != 0 else []
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
        "denied" if span.get("event_type") == "policy" else str(span.get("exit", "running")),
        str(changed or ""),
        command,
    )
