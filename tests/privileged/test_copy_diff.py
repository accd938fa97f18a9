"""The diff of a copy is what a walk finds, whatever a world does: as that of an overlay's layer."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings

from tests.support.accepting import TICK_S, differences
from tests.support.actions import SETTINGS, sequences, setups
from tests.support.copies import CopyStand, copy_of, diff_of
from tests.support.examples import examples
from tests.support.walks import check

if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import OverlayHost, Snapshot

pytestmark = pytest.mark.requires("overlayfs")


def play(
    host: OverlayHost, where: str, setup: list[list[Any]], actions: list[list[Any]]
) -> tuple[Snapshot, Snapshot, FsDiff]:
    """Do the actions in a copy of what `setup` makes; the copy before and after."""
    directory = tempfile.mkdtemp(prefix="substrate-copy-", dir=where)
    try:
        project, layer = f"{directory}/project", f"{directory}/layer"
        os.mkdir(project)
        host.act(project, setup)
        copy = copy_of(project, layer)
        before = host.snapshot(copy)
        assert before == host.snapshot(project)
        assert host.links(copy) == host.links(project)
        assert diff_of(layer, project).entries == ()
        host.act(copy, actions)
        after = host.snapshot(copy)
        diff = diff_of(layer, project)
        assert host.snapshot(project) == before
        return before, after, diff
    finally:
        shutil.rmtree(directory)


# Two directories change places, and a file in one of them changes.
@example(
    setup=[["mkdir", "a"], ["write", "a/x", "one"], ["mkdir", "b"], ["write", "b/x", "two"]],
    actions=[["exchange", "a", "b"], ["append", "b/x", "1"]],
)
# A directory moves, a new one takes its place, and one of its files goes back there.
@example(
    setup=[["mkdir", "a"], ["write", "a/b", "one"], ["write", "a/c", "two"]],
    actions=[["rename", "a", "d"], ["mkdir", "a"], ["rename", "d/b", "a/b"]],
)
@settings(SETTINGS, max_examples=examples(300))
@given(setup=setups, actions=sequences)
def test_diff_of_a_copy_is_what_a_walk_before_and_after_finds(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]]
) -> None:
    check(*play(host, "/dev/shm", setup, actions))


@settings(SETTINGS, max_examples=examples(15))
@given(setup=setups, actions=sequences)
def test_diff_of_a_copy_is_what_a_walk_finds_on_the_disk_file_system_too(
    host: OverlayHost,
    tmp_path_factory: pytest.TempPathFactory,
    setup: list[list[Any]],
    actions: list[list[Any]],
) -> None:
    check(*play(host, str(tmp_path_factory.getbasetemp()), setup, actions))


@settings(SETTINGS, max_examples=examples(100))
@given(setup=setups, actions=sequences, edits=sequences)
def test_what_the_host_changes_is_shown_and_is_no_change_of_the_worlds(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]], edits: list[list[Any]]
) -> None:
    with CopyStand(host) as stand:
        host.act(stand.lower, setup)
        stand.mount()
        stand.act(actions)
        mine = stand.seen()
        changed_before = set(stand.paths())
        host.act(stand.lower, edits)
        # What changes in the very tick in which it is copied is copied again the next time.
        time.sleep(TICK_S)
        with_edits = stand.diff()
        stand.update()
        assert stand.diff() == with_edits
        after = stand.seen()
        stand.update()
        assert stand.seen() == after
        # Nothing the world has made or changed is lost by it.
        changed = set(stand.paths())
        for path in changed & mine.keys():
            assert mine[path][0] == after[path][0]
        both = (*after.values(), *stand.real().values())
        shown = {repr(content) for content, _, _ in both}
        # Of several names of a file, the host may have removed some.
        for path in changed_before & mine.keys() - after.keys():
            assert repr(mine[path][0]) in shown
        # Directories that the world has moved or made anew stay as they are, and what would be an
        # overlay's own is not copied.
        forged = any(".overlay." in str(action) for action in (*actions, *edits))
        if not forged and not stand.apart():
            check(stand.real(), after, diff_of(stand.layer, stand.lower))
        stand.discard_all()
        assert stand.diff() == []
        # A forged mark of an overlay's own goes with the rest.
        assert differences(stand.real(), stand.seen()) == []


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, edits=sequences)
def test_where_the_world_has_changed_nothing_it_sees_what_the_host_has(
    host: OverlayHost, setup: list[list[Any]], edits: list[list[Any]]
) -> None:
    with CopyStand(host) as stand:
        host.act(stand.lower, setup)
        stand.mount()
        host.act(stand.lower, edits)
        stand.update()
        assert differences(stand.real(), stand.seen()) == []
        assert stand.links_seen() == host.links(stand.lower)
        assert stand.diff() == []
