"""What becomes of a copy when its changes, or some of them, are in the project or forgotten."""

from __future__ import annotations

import os

from substrate.filesystem.baseline import write_baseline
from substrate.filesystem.copies.changes import adopt_table, restore_rows
from substrate.filesystem.copies.copier import Manner
from substrate.filesystem.copies.derived import derive
from substrate.filesystem.copies.intents import read_intents
from substrate.filesystem.copies.making import refresh_copy, restore, update_copy
from substrate.filesystem.copies.table import TABLE, read_table
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.layers import COPY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from substrate.filesystem.copies.discard import Place

    IsDenied = Callable[[str], bool]


def settle(directory: str, how: dict[str, Any]) -> None:
    """Give a copy's table what an accept, or its undo, has planned for it; twice is once.

    No file of the copy changes by that, so processes may be using it.
    """
    if "adopt" in how:
        adopt_table(directory, how["adopt"])
    if "restore" in how:
        restore_rows(directory, how["restore"])


def update(project: str, directory: str, is_denied: IsDenied) -> None:
    """Show the world what the host has changed where it has changed nothing; see `update_copy`."""
    old = read_table(os.path.join(directory, TABLE))
    update_copy(project, directory, old, Manner(old.shift, is_denied))


def holds_changes(directory: str) -> bool:
    """Whether the world has changed anything in a copy; without a table none ever ran on it.

    Raises `SubstrateError` for a damaged table, and `OSError`.
    """
    if not os.path.lexists(os.path.join(directory, TABLE)):
        return False
    table = read_table(os.path.join(directory, TABLE))
    with Tree(os.path.join(directory, COPY)) as copy:
        return not derive(copy, table, read_intents(directory)).is_empty


def refresh(
    project: str, directory: str, is_denied: IsDenied, places: list[Place] | None = None
) -> None:
    """Make a copy, or some places of it, what the project is now; nobody may be using it.

    An interrupted call is completed by another one. Raises as `make_copy` does.
    """
    if places is not None and any(read_intents(directory)):
        update(project, directory, is_denied)
    old = read_table(os.path.join(directory, TABLE))
    manner = Manner(old.shift, is_denied)
    if places is not None:
        restore(project, directory, old, places, manner)
        return
    write_baseline(directory, project)
    refresh_copy(project, directory, old, manner)
