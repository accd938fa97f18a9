"""Discarding a part: at its paths is what was there before, everywhere else what the world saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from substrate.errors import RefusedError, UsageError
from substrate.filesystem.conflict import host_path
from substrate.filesystem.entries import DELETE, RENAME, WRITE
from substrate.filesystem.renames import after_renames
from tests.privileged.test_accept_changes import chosen_part
from tests.privileged.test_overlay_diff import sequences, setups
from tests.support.accepting import Stand, differences
from tests.support.examples import examples
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from substrate.filesystem.entries import Entry
    from tests.support.overlay import Snapshot

pytestmark = pytest.mark.requires("root", "overlayfs")


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest) -> Iterator[OverlayHost]:
    with OverlayHost(rootless=request.param) as started:
        yield started


@settings(
    max_examples=examples(80),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    report_multiple_bugs=False,
)
@given(setup=setups, actions=sequences, part=st.integers(0, 2**16))
def test_what_was_discarded_is_as_before_and_the_rest_as_the_world_saw_it(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]], part: int
) -> None:
    with Stand(host, "/dev/shm") as stand:
        stand.host.act(stand.lower, setup)
        # Names that an index of the kernel holds together are shown by a mount with that index.
        assume(host.rootless or not host.links(stand.lower))
        before = stand.real()
        stand.mount()
        stand.act(actions)
        after = stand.seen()
        stand.unmount()
        untimed = stand.touched()
        paths = chosen_part(stand, part)
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
        stand.mount_again()
        found = stand.seen()
        stand.unmount()
        assert differences(expected, found, folder_times=False, untimed=untimed) == []
        assert differences(before, stand.real()) == []


def without(
    before: Snapshot, after: Snapshot, chosen: Sequence[Entry], renames: dict[str, str]
) -> Snapshot:
    """Return what shows once the chosen changes are gone; `renames` are all, by origin."""
    taken = {entry.path for entry in chosen if entry.change in {WRITE, RENAME}}
    back = {host_path(entry) for entry in chosen if entry.change in {DELETE, RENAME}}
    left = {old: new for old, new in renames.items() if old not in back}
    found = {path: facts for path, facts in after.items() if not _is_in(path, taken)}
    alone = {host_path(entry) for entry in chosen if entry.change not in {WRITE, DELETE, RENAME}}
    for path, facts in before.items():
        if path in alone or _is_in(path, back):
            found[after_renames(path, left)] = facts
    return found


def _is_in(path: str, roots: set[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)
