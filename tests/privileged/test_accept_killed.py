"""A killed accept, undo or recovery leaves the old tree or the new one, never one between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.accepting import Stand, differences
from tests.support.dying import dies_at
from tests.support.examples import every
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.overlay import Snapshot

pytestmark = pytest.mark.requires("root", "overlayfs")

WHERE = "/dev/shm"
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


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest) -> Iterator[OverlayHost]:
    with OverlayHost(rootless=request.param) as started:
        yield started


def prepared(stand: Stand) -> tuple[Snapshot, Snapshot]:
    """Make the project and its changes; the trees of before and after."""
    stand.host.act(stand.lower, SETUP)
    before = stand.real()
    stand.mount()
    stand.act(ACTIONS)
    after = stand.seen()
    stand.unmount()
    return before, after


def is_same(one: Snapshot, two: Snapshot) -> bool:
    return differences(one, two, folder_times=False) == []


def test_an_accept_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    seen = {"old": 0, "new": 0}
    step, died = 1, True
    while died:
        with Stand(host, WHERE) as stand:
            before, after = prepared(stand)
            changed = stand.diff()
            died = dies_at(step, stand.accept)
            stand.recover()
            now = stand.real()
            if is_same(now, before):
                seen["old"] += 1
                assert stand.accept() == 1
            else:
                seen["new"] += 1
            assert differences(after, stand.real(), folder_times=False) == [], step
            assert stand.diff() == []
            stand.undo()
            assert differences(before, stand.real(), folder_times=False) == [], step
            assert stand.diff() == changed
        step += 1
    assert min(seen.values()) > 5, seen
    assert step > 100


def test_an_undo_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    seen = {"old": 0, "new": 0}
    step, died = 1, True
    while died:
        with Stand(host, WHERE) as stand:
            before, after = prepared(stand)
            changed = stand.diff()
            stand.accept()
            died = dies_at(step, stand.undo)
            stand.recover()
            if stand.store.numbers():
                seen["new"] += 1
                assert differences(after, stand.real(), folder_times=False) == [], step
                stand.undo()
            else:
                seen["old"] += 1
            assert differences(before, stand.real(), folder_times=False) == [], step
            assert stand.diff() == changed
        step += 1
    assert min(seen.values()) > 5, seen


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
    seen = {"old": 0, "new": 0}
    step, died = 1, True
    while died:
        with Stand(host, WHERE) as stand:
            before, after = spanned(stand)
            changed = stand.diff()
            died = dies_at(step, stand.accept)
            stand.recover()
            if is_same(stand.real(), before):
                seen["old"] += 1
                assert (stand.diff(), stand.stack_names()) == (changed, ["s1", "s2"])
                assert stand.accept() == 1
            else:
                seen["new"] += 1
            assert (stand.diff(), stand.stack_names()) == ([], [])
            assert is_same(after, stand.real())
            assert is_same(after, stand.look())
            stand.undo()
            assert is_same(before, stand.real())
            assert (stand.diff(), stand.stack_names()) == (changed, ["s1", "s2"])
            assert is_same(after, stand.look())
        step += every(3)
    assert min(seen.values()) > 1, seen


def test_an_undo_of_spans_killed_at_any_step_puts_them_below_what_came_later(
    host: OverlayHost,
) -> None:
    seen = {"old": 0, "new": 0}
    step, died = 1, True
    while died:
        with Stand(host, WHERE) as stand:
            before, after = spanned(stand)
            stand.accept()
            stand.span(THIRD)
            now, changed = stand.look(), stand.diff()
            died = dies_at(step, stand.undo)
            # So may be the call that comes next.
            dies_at(1 + step % 11, stand.recover)
            stand.recover()
            if stand.store.numbers():
                seen["old"] += 1
                assert (stand.diff(), stand.stack_names()) == (changed, ["s3"])
                assert is_same(after, stand.real())
                stand.undo()
            else:
                seen["new"] += 1
            assert is_same(before, stand.real())
            assert stand.stack_names() == ["s1", "s2", "s3"]
            assert is_same(now, stand.look())
            stand.accept()
            assert is_same(now, stand.real())
        step += every(3)
    assert min(seen.values()) > 1, seen


def test_a_recovery_killed_at_any_step_is_finished_by_the_next(host: OverlayHost) -> None:
    with Stand(host, WHERE) as stand:
        prepared(stand)
        last = next(step for step in range(60, 2000) if _has_applied(stand, step))
    step, died = 1, True
    while died:
        with Stand(host, WHERE) as stand:
            before, _ = prepared(stand)
            assert dies_at(last, stand.accept)
            assert not is_same(before, stand.real())
            died = dies_at(step, stand.recover)
            stand.recover()
            assert differences(before, stand.real(), folder_times=False) == [], step
        step += 1


def _has_applied(stand: Stand, step: int) -> bool:
    """Whether an accept that dies at a step has applied nearly everything by then."""
    before = stand.real()
    dies_at(step, stand.accept)
    now = stand.real()
    applied = "there" in now and "new/c" in now and "becomes/fifo" in now
    stand.recover()
    assert is_same(before, stand.real())
    return applied
