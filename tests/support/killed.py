"""Accepts and undos that are killed, over layers and over copies: what must be true then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.accepting import differences
from tests.support.dying import dies_at

if TYPE_CHECKING:
    from tests.support.accepting import Stand
    from tests.support.overlay import Snapshot

SETUP: list[list[Any]] = [
    ["write", "changed", "one"],
    ["write", "removed", "two"],
    ["mkdir", "gone"],
    ["write", "gone/inside", "three"],
    ["mkdir", "moved"],
    ["write", "moved/inside", "four"],
    ["write", "moved/changed", "five"],
    ["write", "mode", "six"],
    ["write", "linked", "seven"],
    ["link", "linked", "other"],
    ["mkdir", "closed"],
    ["write", "becomes", "eight"],
]
ACTIONS: list[list[Any]] = [
    ["write", "changed", "uno"],
    ["remove", "removed"],
    ["remove", "gone"],
    ["move", "moved", "there"],
    ["append", "there/changed", "!"],
    ["chmod", "mode", 0o600],
    ["write", "linked", "siete"],
    ["mkdir", "new"],
    ["write", "new/a\nb", "nine"],
    ["link", "new/a\nb", "new/c"],
    ["symlink", "new/s", "c"],
    ["chmod", "closed", 0o500],
    ["folder", "becomes"],
    ["mkfifo", "becomes/fifo"],
]


def prepared(stand: Stand) -> tuple[Snapshot, Snapshot]:
    """Make the project and its changes; the trees of before and after."""
    return stand.change(SETUP, ACTIONS)


def is_same(one: Snapshot, two: Snapshot) -> bool:
    return differences(one, two, folder_times=False) == []


def accept_is_killed(stand: Stand, step: int) -> tuple[bool, str]:
    """Kill an accept at a step, if it takes so many; return whether, and which tree that left."""
    with stand:
        before, after = prepared(stand)
        changed = stand.diff()
        died = dies_at(step, stand.accept)
        stand.recover()
        left = "old" if is_same(stand.real(), before) else "new"
        if left == "old":
            assert stand.accept() == 1
        assert differences(after, stand.real(), folder_times=False) == [], step
        assert stand.diff() == []
        assert differences(stand.real(), stand.shown(), folder_times=False) == [], step
        stand.undo()
        assert differences(before, stand.real(), folder_times=False) == [], step
        assert stand.diff() == changed
        if stand.shows_again:
            assert differences(after, stand.shown(), folder_times=False) == [], step
    return died, left


def undo_is_killed(stand: Stand, step: int) -> tuple[bool, str]:
    """Kill an undo at a step, if it takes so many; return whether, and which tree that left."""
    with stand:
        before, after = prepared(stand)
        changed = stand.diff()
        stand.accept()
        died = dies_at(step, stand.undo)
        stand.recover()
        left = "new" if stand.store.numbers() else "old"
        if left == "new":
            assert differences(after, stand.real(), folder_times=False) == [], step
            stand.undo()
        assert differences(before, stand.real(), folder_times=False) == [], step
        assert stand.diff() == changed, step
    return died, left
