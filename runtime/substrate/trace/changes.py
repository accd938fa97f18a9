"""What each span of a world that has ended changed, whole: a line of the trace holds what fits."""

from __future__ import annotations

import os

from substrate.errors import TraceError, TraceWriteError
from substrate.jsontext import dumps_line, loads
from substrate.trace.directory import open_folder_in, open_own, write_new
from substrate.trace.ids import checked_span_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = "changes"


def keep_changes(directory: str, span_id: str, fs_diff: dict[str, Any]) -> None:
    """Keep a diff as `FsDiff.to_json(touched=True)` tells it; what is kept already stays.

    Raises `TraceWriteError` when it cannot be written whole.
    """
    content = dumps_line(fs_diff).encode()
    try:
        folder_fd = open_folder_in(directory, FOLDER, create=True)
        try:
            write_new(_name(span_id), content, folder_fd)
        except FileExistsError:
            return
        finally:
            os.close(folder_fd)
    except OSError as error:
        message = f"cannot keep what span {span_id} changed: {error.strerror}"
        hint = f"look at {directory}/{FOLDER}, and at the room left there"
        raise TraceWriteError(message, hint) from error


def read_changes(directory: str, span_id: str) -> Any:
    """Return what `keep_changes` has kept of a span, None when that is nothing."""
    name = _name(span_id)
    if not os.path.isdir(directory):
        return None  # nothing was ever recorded
    try:
        folder_fd = open_folder_in(directory, FOLDER, create=False)
        try:
            with open(open_own(name, os.O_RDONLY, folder_fd), "rb") as file:
                return loads(file.read())
        finally:
            os.close(folder_fd)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"cannot read what span {span_id} changed: {error}"
        raise TraceError(message, f"look at {directory}/{FOLDER}") from None


def _name(span_id: str) -> str:
    return f"{checked_span_id(span_id)}.json"
