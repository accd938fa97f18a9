"""A killed accept, undo or recovery leaves the old tree or the new one, never one between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.accepting import Stand, differences
from tests.support.dying import at_each_step, dies_at
from tests.support.examples import every
from tests.support.killed import SETUP, accept_is_killed, is_same, prepared, undo_is_killed

if TYPE_CHECKING:
    from tests.support.overlay import OverlayHost, Snapshot

pytestmark = pytest.mark.requires("root", "overlayfs")


def test_an_accept_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    met = at_each_step(lambda step: accept_is_killed(Stand(host), step))
    assert min(met["old"], met["new"]) > 5, met
    assert met.total() > 100


def test_an_undo_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    met = at_each_step(lambda step: undo_is_killed(Stand(host), step))
    assert min(met["old"], met["new"]) > 5, met


FIRST: list[list[Any]] = [
    ["rename", "moved", "there"],
    ["remove", "gone"],
    ["chmod", "mode", 0o600],
]
SECOND: list[list[Any]] = [["append", "there/changed", "!"], ["mkdir", "gone"]]
THIRD: list[list[Any]] = [
    ["write", "there/later", "ten"],
    ["remove", "gone"],
    ["append", "mode", "?"],
]


def spanned(stand: Stand) -> tuple[Snapshot, Snapshot]:
    """Make the project, and changes of it in two spans of a world that idles; both trees."""
    stand.host.act(stand.lower, SETUP)
    before = stand.real()
    stand.begin_idle()
    stand.span(FIRST)
    stand.span(SECOND)
    return before, stand.look()


def test_an_accept_of_spans_killed_at_any_step_can_still_be_undone(host: OverlayHost) -> None:
    def attempt(step: int) -> tuple[bool, str]:
        with Stand(host) as stand:
            before, after = spanned(stand)
            changed = stand.diff()
            died = dies_at(step, stand.accept)
            stand.recover()
            left = "old" if is_same(stand.real(), before) else "new"
            if left == "old":
                assert (stand.diff(), stand.stack_names()) == (changed, ["s1", "s2"])
                assert stand.accept() == 1
            assert (stand.diff(), stand.stack_names()) == ([], [])
            assert is_same(after, stand.real())
            assert is_same(after, stand.look())
            stand.undo()
            assert is_same(before, stand.real())
            assert (stand.diff(), stand.stack_names()) == (changed, ["s1", "s2"])
            assert is_same(after, stand.look())
        return died, left

    met = at_each_step(attempt, every(3))
    assert min(met["old"], met["new"]) > 1, met


def test_an_undo_of_spans_killed_at_any_step_puts_them_below_what_came_later(
    host: OverlayHost,
) -> None:
    def attempt(step: int) -> tuple[bool, str]:
        with Stand(host) as stand:
            before, after = spanned(stand)
            stand.accept()
            stand.span(THIRD)
            now, changed = stand.look(), stand.diff()
            died = dies_at(step, stand.undo)
            # So may be the call that comes next.
            dies_at(1 + step % 11, stand.recover)
            stand.recover()
            left = "old" if stand.store.numbers() else "new"
            if left == "old":
                assert (stand.diff(), stand.stack_names()) == (changed, ["s3"])
                assert is_same(after, stand.real())
                stand.undo()
            assert is_same(before, stand.real())
            assert stand.stack_names() == ["s1", "s2", "s3"]
            assert is_same(now, stand.look())
            stand.accept()
            assert is_same(now, stand.real())
        return died, left

    met = at_each_step(attempt, every(3))
    assert min(met["old"], met["new"]) > 1, met


def test_a_recovery_killed_at_any_step_is_finished_by_the_next(host: OverlayHost) -> None:
    with Stand(host) as stand:
        prepared(stand)
        last = next(step for step in range(60, 2000) if _has_applied(stand, step))

    def attempt(step: int) -> tuple[bool, str]:
        with Stand(host) as stand:
            before, _ = prepared(stand)
            assert dies_at(last, stand.accept)
            assert not is_same(before, stand.real())
            died = dies_at(step, stand.recover)
            stand.recover()
            assert differences(before, stand.real(), folder_times=False) == [], step
        return died, "recovered"

    assert at_each_step(attempt).total() > 5


def _has_applied(stand: Stand, step: int) -> bool:
    """Whether an accept that dies at a step has applied nearly everything by then."""
    before = stand.real()
    dies_at(step, stand.accept)
    now = stand.real()
    applied = "there" in now and "new/c" in now and "becomes/fifo" in now
    stand.recover()
    assert is_same(before, stand.real())
    return applied
