"""Accept makes the project what the world saw, undo makes it what it was; whatever was done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.privileged.test_overlay_diff import sequences, setups
from tests.support.accepting import Stand, differences
from tests.support.examples import examples
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.requires("root", "overlayfs")


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest) -> Iterator[OverlayHost]:
    with OverlayHost(rootless=request.param) as started:
        yield started


@pytest.fixture(scope="module")
def where() -> Path:
    return Path("/dev/shm")


@settings(
    max_examples=examples(60),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    report_multiple_bugs=False,
)
@given(setup=setups, actions=sequences)
def test_accept_is_what_the_world_saw_and_undo_what_was_there(
    host: OverlayHost, where: Path, setup: list[list[Any]], actions: list[list[Any]]
) -> None:
    with Stand(host, str(where)) as stand:
        stand.host.act(stand.lower, setup)
        before, links_before = stand.real(), host.links(stand.lower)
        stand.mount()
        stand.act(actions)
        after, links_after = stand.seen(), host.links(f"{stand.folder}/merged")
        stand.unmount()
        stand.accept()
        check = differences(after, stand.real(), folder_times=False)
        assert check == [], "accept"
        assert host.links(stand.lower) == links_after
        assert stand.diff() == []
        if stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real()) == [], "undo"
        assert host.links(stand.lower) == links_before
        assert stand.warnings == []
