"""Accept makes the project what the world saw, undo makes it what it was; whatever was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from substrate.errors import RefusedError, UsageError
from substrate.filesystem.accept import Wish
from tests.support.accepting import Stand, differences
from tests.support.actions import SETTINGS, sequences, setups
from tests.support.examples import examples

if TYPE_CHECKING:
    from tests.support.overlay import OverlayHost

pytestmark = pytest.mark.requires("root", "overlayfs")


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences)
def test_accept_is_what_the_world_saw_and_undo_what_was_there(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]]
) -> None:
    with Stand(host) as stand:
        stand.host.act(stand.lower, setup)
        before, links_before = stand.real(), host.links(stand.lower)
        stand.mount()
        stand.act(actions)
        after, links_after = stand.seen(), host.links(f"{stand.folder}/merged")
        stand.unmount()
        # Equal files that changed places are no change: their names and times stay the host's.
        names = frozenset[str]().union(*links_before, *links_after)
        same = stand.touched() & names
        changed = stand.diff()
        stand.accept()
        check = differences(after, stand.real(), folder_times=False, untimed=same)
        assert check == [], "accept"
        if host.rootless:
            # There the overlay shows fewer of them than there are.
            kept = host.links(stand.lower)
            assert same or all(any(group <= one for one in kept) for group in links_after)
        elif not same:
            assert host.links(stand.lower) == links_after
        assert stand.diff() == []
        if stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real()) == [], "undo"
        assert stand.diff() == changed
        assert host.links(stand.lower) == links_before
        assert stand.warnings == []


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, part=st.integers(0, 2**16), undone=st.booleans())
def test_a_part_is_accepted_and_the_world_still_sees_what_it_saw(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]],
    part: int, *, undone: bool,
) -> None:  # fmt: skip
    with Stand(host) as stand:
        stand.host.act(stand.lower, setup)
        # Names that an index of the kernel holds together are shown by a mount with that index.
        assume(host.rootless or not host.links(stand.lower))
        before = stand.real()
        stand.mount()
        stand.act(actions)
        after = stand.seen()
        stand.unmount()
        touched = stand.touched()
        paths = stand.chosen(part)
        assume(paths)
        try:
            stand.accept(Wish(paths=paths, allow_risky=True))
        except (RefusedError, UsageError):
            assert differences(before, stand.real()) == []
            return
        still = stand.shown()
        assert differences(after, still, folder_times=False, untimed=touched) == []
        # Of a layer that is accepted as a whole nothing is left for an undo to give back to.
        if undone and stand.store.numbers() and stand.diff():
            stand.undo()
            assert differences(before, stand.real(), folder_times=False) == []
            again = stand.shown()
            assert differences(after, again, folder_times=False, untimed=touched) == [], "undone"
            return
        # Of names of one file, what was written by another name may now only have been touched.
        touched |= stand.touched()
        stand.accept()
        assert differences(after, stand.real(), folder_times=False, untimed=touched) == []
        while stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real(), folder_times=False) == []
