"""The same diff with directories read ahead, however few there are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from substrate.filesystem import walk
from substrate.filesystem.lookahead import LookAhead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import pytest

    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.lookahead import Look


@contextmanager
def looking_ahead(waiting: int = 0) -> Generator[None]:
    """Have walks look ahead as soon as more than `waiting` directories are to be visited."""
    usual, walk.LOOK_AHEAD = walk.LOOK_AHEAD, waiting
    try:
        yield
    finally:
        walk.LOOK_AHEAD = usual


def both_ways(diff: Callable[[], FsDiff]) -> FsDiff:
    """Return the diff; it must be the same with and without looking ahead.

    Where more directories have to wait, it begins below some that the walk has read itself.
    """
    found = diff()
    for waiting in (0, 1):
        with looking_ahead(waiting):
            again = diff()
        assert again.to_json(touched=True) == found.to_json(touched=True)
    return found


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets, for each directory asked for, whether it had been read."""
    found: list[bool] = []
    take = LookAhead.take

    def counted(ahead: LookAhead, folder: str, name: str) -> Look | None:
        look = take(ahead, folder, name)
        found.append(look is not None)
        return look

    monkeypatch.setattr(LookAhead, "take", counted)
    return found
