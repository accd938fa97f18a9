"""An accept or undo that fails, because a disk or a quota is full, leaves nothing half done."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.support.accepting import Stand, differences
from tests.support.examples import examples
from tests.support.failing import fails
from tests.support.killed import is_same, prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.overlay import OverlayHost

pytestmark = pytest.mark.requires("root", "overlayfs")

# The disk is full from a step on; the quota is; one call fails, whatever it is.
FAULTS = [
    pytest.param(errno.ENOSPC, False, id="full"),
    pytest.param(errno.EDQUOT, False, id="quota"),
    pytest.param(errno.EIO, True, id="once"),
]


def each_step(try_at: Callable[[int], bool | None]) -> dict[bool, int]:
    """Try at some steps, spread evenly, until there are no more; how many failed and how many not.

    How far apart they are grows with the number of steps there turn out to be.
    """
    seen = {True: 0, False: 0}
    step, apart = 1, max(1, 240 // examples(24))
    while (failed := try_at(step)) is not None:
        seen[failed] += 1
        step += apart
    return seen


@pytest.mark.parametrize(("error", "once"), FAULTS)
def test_an_accept_that_fails_at_any_step_leaves_the_old_tree_and_can_be_repeated(
    host: OverlayHost, error: int, once: bool
) -> None:
    def try_at(step: int) -> bool | None:
        with Stand(host) as stand:
            before, after = prepared(stand)
            failed = fails(step, stand.accept, error, once=once)
            now = stand.real()
            if failed and not stand.store.numbers():
                # Taken back at once, and not only by whoever comes next.
                assert is_same(now, before), (step, differences(before, now))
                stand.recover()
                assert is_same(stand.real(), before), step
                assert stand.accept() == 1
            else:
                # What failed after the commit is completed by the next call.
                stand.recover()
            assert differences(after, stand.real(), folder_times=False) == [], step
            assert stand.diff() == [], step
            stand.undo()
            assert differences(before, stand.real(), folder_times=False) == [], step
            return failed

    assert each_step(try_at)[True] > 5


@pytest.mark.parametrize(("error", "once"), FAULTS)
def test_an_undo_that_fails_at_any_step_leaves_the_accepted_tree_and_can_be_repeated(
    host: OverlayHost, error: int, once: bool
) -> None:
    def try_at(step: int) -> bool | None:
        with Stand(host) as stand:
            before, after = prepared(stand)
            stand.accept()
            failed = fails(step, stand.undo, error, once=once)
            now = stand.real()
            assert is_same(now, after) or is_same(now, before), (step, differences(after, now))
            stand.recover()
            if stand.store.numbers():
                assert differences(after, stand.real(), folder_times=False) == [], step
                stand.undo()
            assert differences(before, stand.real(), folder_times=False) == [], step
            return failed

    assert each_step(try_at)[True] > 3
