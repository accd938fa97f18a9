"""Discarding a part: at its paths is what was there before, everywhere else what the world saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from substrate.errors import RefusedError, UsageError
from tests.support.accepting import Stand, differences
from tests.support.actions import SETTINGS, sequences, setups
from tests.support.examples import examples
from tests.support.walks import without

if TYPE_CHECKING:
    from tests.support.overlay import OverlayHost

pytestmark = pytest.mark.requires("root", "overlayfs")


@settings(SETTINGS, max_examples=examples(80))
@given(setup=setups, actions=sequences, part=st.integers(0, 2**16))
def test_what_was_discarded_is_as_before_and_the_rest_as_the_world_saw_it(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]], part: int
) -> None:
    with Stand(host) as stand:
        stand.host.act(stand.lower, setup)
        # Names that an index of the kernel holds together are shown by a mount with that index.
        assume(host.rootless or not host.links(stand.lower))
        before = stand.real()
        stand.mount()
        stand.act(actions)
        after = stand.seen()
        stand.unmount()
        untimed = stand.touched()
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
        found = stand.shown()
        assert differences(expected, found, folder_times=False, untimed=untimed) == []
        assert differences(before, stand.real()) == []
