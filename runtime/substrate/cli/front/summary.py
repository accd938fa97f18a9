"""The quiet line after a command: what it changed, and how to see or undo that."""

from __future__ import annotations

from substrate.cli.terminal import printable
from substrate.filesystem.render import stat_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.api.records import ExecResult

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_SHOWN_SCOPES = 3


def summary_line(result: ExecResult, *, colour: bool) -> str:
    """Return the line, "" when there is nothing to tell."""
    parts = [*_changes(result), *_connections(result), *_ends(result)]
    if not parts:
        return ""
    line = printable("· " + " · ".join(parts))
    return f"{_DIM}{line}{_PLAIN}" if colour else line


def _changes(result: ExecResult) -> list[str]:
    if result.fs_diff is None or result.fs_diff.empty:
        return []
    return [f"{stat_line(result.fs_diff)} (substrate diff, accept or discard)"]


def _connections(result: ExecResult) -> list[str]:
    used = [f"{scope.host}:{scope.port}" for scope in result.scopes_used]
    if not used:
        return []
    more = f" and {len(used) - _SHOWN_SCOPES} more" if len(used) > _SHOWN_SCOPES else ""
    return ["connected to " + ", ".join(used[:_SHOWN_SCOPES]) + more]


def _ends(result: ExecResult) -> list[str]:
    return ["ended: its time was over"] if result.timed_out else []
