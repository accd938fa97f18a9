"""What is about to be applied is no riskier than what a person has looked at.

The world may be writing all the while. A copy of what it has is nobody's but ours; only then can a
link get no other target, and a file no capabilities, than those that were judged.
"""

from __future__ import annotations

import os
import stat

from substrate.filesystem.apply import Interference
from substrate.filesystem.copying import metadata_at
from substrate.filesystem.operations import IN, SET, SWAP
from substrate.filesystem.risky import CAPABILITIES, risky_reasons

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.filesystem.entries import Entry
    from substrate.filesystem.operations import Operation

_REASON = "became {} in the world"
_CAPABILITY = "security.capability"


def check_judged(operations: Iterable[Operation], pieces_fd: int, chosen: Iterable[Entry]) -> None:
    """Raise `Interference` for a piece, or new metadata, that would need another yes.

    `pieces_fd` is the directory of the pieces, all of which are there.
    """
    entries: dict[str, list[Entry]] = {}
    for entry in chosen:
        entries.setdefault(entry.path, []).append(entry)
    for operation in operations:
        judged = entries.get(operation.path, [])
        if operation.moved or not judged or operation.kind not in {IN, SWAP, SET}:
            continue
        now = _reasons(operation, pieces_fd, judged[-1].kind)
        more = now.difference(*(entry.risky for entry in judged))
        if more:
            raise Interference(operation.path, _REASON.format(min(more)))


def _reasons(operation: Operation, pieces_fd: int, kind: str) -> set[str]:
    if operation.kind == SET:
        new = operation.new
        names = () if new is None else dict(new.attributes)
        can = kind == "file" and new is not None and new.mode & 0o111
        return {CAPABILITIES} if can and _CAPABILITY in names else set()
    name = str(operation.piece)
    status = os.stat(name, dir_fd=pieces_fd, follow_symlinks=False)
    target = os.readlink(name, dir_fd=pieces_fd) if stat.S_ISLNK(status.st_mode) else ""
    found = set(risky_reasons(operation.path, kind, stat.S_IMODE(status.st_mode), target))
    # As the diff judges them: they mean nothing on other files.
    if kind == "file" and status.st_mode & 0o111:
        can = _CAPABILITY in dict(metadata_at(pieces_fd, name).attributes)
        found |= {CAPABILITIES} if can else set()
    return found
