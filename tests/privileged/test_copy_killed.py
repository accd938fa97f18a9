"""Killed anywhere, what works on a copy leaves one that the next call makes whole."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.accepting import TICK_S, differences
from tests.support.copies import CopyStand
from tests.support.dying import at_each_step, dies_at
from tests.support.killed import accept_is_killed, prepared, undo_is_killed
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "overlayfs")


@pytest.fixture(scope="module")
def host() -> Iterator[OverlayHost]:
    with OverlayHost(rootless=False) as started:
        yield started


def test_an_accept_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    met = at_each_step(lambda step: accept_is_killed(CopyStand(host), step), 7)
    assert min(met["old"], met["new"]) > 2, met


def test_an_undo_killed_at_any_step_leaves_the_old_or_the_new_tree(host: OverlayHost) -> None:
    met = at_each_step(lambda step: undo_is_killed(CopyStand(host), step), 7)
    assert min(met["old"], met["new"]) > 2, met


def test_a_discard_killed_at_any_step_is_finished_by_the_next(host: OverlayHost) -> None:
    def attempt(step: int) -> tuple[bool, str]:
        with CopyStand(host) as stand:
            before, _ = prepared(stand)
            died = dies_at(step, stand.discard_all)
            stand.discard_all()
            assert stand.diff() == []
            assert differences(before, stand.seen(), folder_times=False) == [], step
            assert differences(before, stand.real()) == []
        return died, "discarded"

    assert at_each_step(attempt, 5).total() > 5


def test_an_update_killed_at_any_step_makes_nothing_of_the_hosts_a_change_of_the_worlds(
    host: OverlayHost,
) -> None:
    edits = [
        ["write", "hosts", "made"], ["mkdir", "hosts-dir"], ["write", "hosts-dir/x", "x"],
        ["append", "hosts-own", "more"], ["remove", "hosts-old"], ["rename", "hosts-a", "hosts-b"],
    ]  # fmt: skip
    own = [["write", name, name] for name in ("hosts-own", "hosts-old", "hosts-a")]

    def attempt(step: int) -> tuple[bool, str]:
        with CopyStand(host) as stand:
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
        return died, "updated"

    assert at_each_step(attempt, 3).total() > 5


def test_an_update_killed_at_any_step_keeps_what_the_world_wrote_to_a_file_with_several_names(
    host: OverlayHost,
) -> None:
    setup = [
        ["write", "a", "one"], ["link", "a", "b"], ["mkdir", "d"], ["link", "a", "d/c"],
        ["write", "x", "two"], ["link", "x", "d/y"], ["mkdir", "m"], ["link", "x", "m/z"],
    ]  # fmt: skip
    edits = [["unlink", "a"], ["remove", "d"], ["unlink", "x"], ["write", "new", "n"]]

    def attempt(step: int) -> tuple[bool, str]:
        with CopyStand(host) as stand:
            host.act(stand.lower, setup)
            stand.mount()
            stand.act([["append", "b", "more"], ["write", "d/own", "own"], ["rename", "m", "n"]])
            host.act(stand.lower, edits)
            time.sleep(TICK_S)
            diff = stand.diff()
            assert diff == ["mod  b", "write  d", "write  d/own", "rename m n"]
            died = dies_at(step, stand.update)
            assert stand.diff() == diff, step
            stand.update()
            assert stand.diff() == diff, step
            assert sorted(stand.seen()) == [".", "b", "d", "d/own", "n", "n/z", "new"]
            assert os.stat(f"{stand.layer}/copy/b").st_size == len("onemore")
            # What went of its other names is no change of this one.
            host.act(stand.lower, [["unlink", "m/z"]])
            assert stand.diff() == diff, step
        return died, "updated"

    assert at_each_step(attempt, 2).total() > 5


def test_a_discard_of_one_name_killed_at_any_step_keeps_what_was_written_under_another(
    host: OverlayHost,
) -> None:
    def attempt(step: int) -> tuple[bool, str]:
        with CopyStand(host) as stand:
            host.act(stand.lower, [["write", "a", "one"], ["link", "a", "b"]])
            stand.mount()
            stand.act([["file", "b", "other"], ["append", "a", "more"]])
            died = dies_at(step, lambda: stand.discard(["b"]))
            assert "mod  a" in stand.diff(), step
            stand.update()
            assert "mod  a" in stand.diff(), step
            assert os.stat(f"{stand.layer}/copy/a").st_size == len("onemore")
        return died, "discarded"

    assert at_each_step(attempt).total() > 5
