"""Accept, undo and discard on copies: what they come to is what they come to on layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from substrate.errors import ConflictError, RefusedError, UsageError
from substrate.filesystem.accept import Wish
from tests.support.accepting import differences
from tests.support.actions import SETTINGS, sequences, setups
from tests.support.copies import CopyStand
from tests.support.examples import examples
from tests.support.images import mounted
from tests.support.walks import without

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.overlay import OverlayHost

pytestmark = pytest.mark.requires("root", "overlayfs")


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, lives=st.booleans())
def test_accept_is_what_the_world_saw_and_undo_what_was_there(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]],
    *, lives: bool,
) -> None:  # fmt: skip
    with CopyStand(host) as stand:
        host.act(stand.lower, setup)
        before, links_before = stand.real(), host.links(stand.lower)
        stand.mount()
        stand.act(actions)
        after, links_after = stand.seen(), stand.links_seen()
        names = frozenset[str]().union(*links_before, *links_after)
        same, diff = stand.touched() & names, stand.diff()
        stand.accept(lives=lives)
        check = differences(after, stand.real(), folder_times=False, untimed=same)
        assert check == [], "accept"
        if not same:
            assert host.links(stand.lower) == links_after
        assert stand.diff() == []
        assert differences(stand.seen(), stand.real(), folder_times=False, untimed=same) == []
        if stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real()) == [], "undo"
        assert host.links(stand.lower) == links_before
        assert stand.warnings == []
        # Neither has changed anything for the world; what was accepted is a change of its again.
        assert stand.diff() == diff
        assert differences(after, stand.seen(), folder_times=False) == []
        stand.update()
        assert stand.diff() == diff
        assert stand.accept() or not diff
        assert differences(after, stand.real(), folder_times=False, untimed=same) == []


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, part=st.integers(0, 2**16), undone=st.booleans())
def test_a_part_is_accepted_and_the_world_still_sees_what_it_saw(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]],
    part: int, *, undone: bool,
) -> None:  # fmt: skip
    with CopyStand(host) as stand:
        host.act(stand.lower, setup)
        before = stand.real()
        stand.mount()
        stand.act(actions)
        # The time of names of one file belongs to all of them, and some may have gone their way.
        names = frozenset[str]().union(*host.links(stand.lower), *stand.links_seen())
        after, touched = stand.seen(), stand.touched() | names
        diff = stand.diff()
        paths = stand.chosen(part)
        assume(paths)
        try:
            stand.accept(Wish(paths=paths, allow_risky=True))
        except (ConflictError, RefusedError, UsageError):
            assert differences(before, stand.real()) == []
            return
        if undone and stand.store.numbers() and stand.diff():
            stand.undo()
            assert differences(before, stand.real(), folder_times=False) == []
            assert stand.diff() == diff
            assert differences(after, stand.seen()) == [], "undone"
            return
        touched |= stand.touched()
        stand.accept()
        assert differences(after, stand.real(), folder_times=False, untimed=touched) == []
        while stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real(), folder_times=False) == []


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, part=st.integers(0, 2**16))
def test_what_was_discarded_is_as_before_and_the_rest_as_the_world_saw_it(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]], part: int
) -> None:
    with CopyStand(host) as stand:
        host.act(stand.lower, setup)
        before = stand.real()
        stand.mount()
        stand.act(actions)
        names = frozenset[str]().union(*host.links(stand.lower), *stand.links_seen())
        after, untimed = stand.seen(), stand.touched() | names
        paths = stand.chosen(part)
        assume(paths)
        renames = stand.renames()
        expected = after
        try:
            chosen = stand.discard(list(paths))
        except (RefusedError, UsageError) as error:
            event(error.message.rpartition(": ")[2])
        else:
            event("discarded")
            expected = without(before, after, chosen, renames)
        world = stand.seen()
        assert differences(expected, world, folder_times=False, untimed=untimed) == []
        assert differences(before, stand.real()) == []
        # What is left is accepted, and undone, as if it had always been all.
        untimed |= stand.touched()
        stand.accept()
        assert differences(world, stand.real(), folder_times=False, untimed=untimed) == []
        while stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real(), folder_times=False) == []
        stand.discard_all()
        assert stand.diff() == []
        assert differences(before, stand.seen(), folder_times=False) == []


@pytest.mark.requires("file_system.ext4")
def test_files_that_undo_restores_may_get_the_inodes_that_others_had(
    host: OverlayHost, tmp_path: Path
) -> None:
    # What is displaced goes to another file system, and its inode to whoever comes next.
    names = [f"f{number}" for number in range(20)]
    mount = tmp_path / "mount"
    mount.mkdir()
    with mounted(tmp_path, "ext4", mount):
        project = mount / "project"
        project.mkdir()
        for name in names:
            (project / name).write_text("a", "utf-8")
        with CopyStand(host, str(project)) as stand:
            stand.mount()
            for text in ("b", "c", "d", "undo", "e", "undo", "f", "g", "undo", "undo", "h"):
                if text == "undo":
                    stand.undo()
                    continue
                stand.act([["write", name, text] for name in names])
                stand.act([["write", f"{text}-{name}", text] for name in names])
                stand.act([["remove", f"b-{name}"] for name in names if text == "c"])
                assert stand.accept()
                assert (project / "f7").read_text("utf-8") == text
            while stand.store.numbers():
                stand.undo()
            assert {path.name: path.read_text("utf-8") for path in project.iterdir()} == (
                dict.fromkeys(names, "a")
            )
