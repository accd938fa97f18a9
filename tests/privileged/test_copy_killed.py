"""Killed anywhere, what works on a copy leaves one that the next call makes whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.privileged.test_accept_killed import WHERE, is_same, prepared
from tests.support.accepting import differences
from tests.support.copies import CopyStand
from tests.support.dying import dies_at
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "overlayfs")


@pytest.fixture(scope="module")
def host() -> Iterator[OverlayHost]:
    with OverlayHost(rootless=False) as started:
        yield started


def test_an_accept_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    seen = {"old": 0, "new": 0}
    step, died = 1, True
    while died:
        with CopyStand(host, WHERE) as stand:
            before, after = prepared(stand)
            diff = stand.diff()
            died = dies_at(step, stand.accept)
            stand.recover()
            if is_same(stand.real(), before):
                seen["old"] += 1
                assert stand.accept() == 1
            else:
                seen["new"] += 1
            assert differences(after, stand.real(), folder_times=False) == [], step
            assert stand.diff() == []
            assert differences(stand.real(), stand.seen(), folder_times=False) == [], step
            stand.undo()
            assert differences(before, stand.real(), folder_times=False) == [], step
            assert stand.diff() == diff
            assert differences(after, stand.seen(), folder_times=False) == [], step
        step += 7
    assert min(seen.values()) > 2, seen


def test_an_undo_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    seen = {"old": 0, "new": 0}
    step, died = 1, True
    while died:
        with CopyStand(host, WHERE) as stand:
            before, after = prepared(stand)
            diff = stand.diff()
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
            assert stand.diff() == diff, step
        step += 7
    assert min(seen.values()) > 2, seen


def test_a_discard_killed_at_any_step_is_finished_by_the_next(host: OverlayHost) -> None:
    step, died = 1, True
    while died:
        with CopyStand(host, WHERE) as stand:
            before, _ = prepared(stand)
            died = dies_at(step, stand.discard_all)
            stand.discard_all()
            assert stand.diff() == []
            assert differences(before, stand.seen(), folder_times=False) == [], step
            assert differences(before, stand.real()) == []
        step += 5


def test_an_update_killed_at_any_step_makes_nothing_of_the_hosts_a_change_of_the_worlds(
    host: OverlayHost,
) -> None:
    edits = [
        ["write", "hosts", "made"], ["mkdir", "hosts-dir"], ["write", "hosts-dir/x", "x"],
        ["append", "hosts-own", "more"], ["remove", "hosts-old"], ["rename", "hosts-a", "hosts-b"],
    ]  # fmt: skip
    own = [["write", name, name] for name in ("hosts-own", "hosts-old", "hosts-a")]
    step, died = 1, True
    while died:
        with CopyStand(host, WHERE) as stand:
            host.act(stand.lower, own)
            prepared(stand)
            diff = stand.diff()
            host.act(stand.lower, edits)
            assert stand.diff() == diff
            died = dies_at(step, stand.update)
            assert stand.diff() == diff, step
            stand.update()
            assert stand.diff() == diff, step
            seen, real = stand.seen(), stand.real()
            shown = {path: facts for path, facts in seen.items() if path.startswith("hosts")}
            assert shown == {path: f for path, f in real.items() if path.startswith("hosts")}
            assert "hosts-dir/x" in shown
            assert "hosts-old" not in shown
            assert stand.accept() == 1
        step += 3
