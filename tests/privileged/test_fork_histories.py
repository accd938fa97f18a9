"""Random histories, forked: the fork shows what there was, and both go on without each other."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import ConflictError
from tests.privileged.test_overlay_diff import SETTINGS, changing, check, setups
from tests.support.examples import examples
from tests.support.forking import StackedWorld
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import Snapshot

pytestmark = pytest.mark.requires("root", "overlayfs")

histories = st.lists(st.lists(st.one_of(changing), min_size=1, max_size=10), max_size=4)


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest) -> Iterator[OverlayHost]:
    with OverlayHost(rootless=request.param) as started:
        yield started


@contextmanager
def project(host: OverlayHost, setup: list[list[Any]]) -> Iterator[StackedWorld]:
    """Make a project and a world over it."""
    folder = tempfile.mkdtemp(prefix="substrate-fork-", dir="/dev/shm")
    try:
        os.mkdir(f"{folder}/lower")
        host.act(f"{folder}/lower", setup)
        world = StackedWorld(host, folder, "first")
        world.begin()
        yield world
    finally:
        shutil.rmtree(folder)


def told(diff: FsDiff) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = diff.to_json(touched=True)["entries"]
    return found


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, before=histories, after=histories, other=histories)
def test_fork_of_a_random_history_is_what_that_was_and_both_go_on_alone(
    host: OverlayHost,
    setup: list[list[Any]],
    before: list[list[list[Any]]],
    after: list[list[list[Any]]],
    other: list[list[list[Any]]],
) -> None:
    with project(host, setup) as first:
        real = first.seen()
        for actions in before:
            first.span(actions)
        seen, changed = first.seen(), told(first.diff())
        fork = first.fork("fork")
        assert fork.seen() == seen
        assert told(fork.diff()) == changed
        for actions in after:
            first.span(actions)
        assert fork.seen() == seen
        assert told(fork.diff()) == changed
        ended = first.seen()
        for actions in other:
            fork.span(actions)
        assert first.seen() == ended
        check(real, fork.seen(), fork.diff())
        again = fork.fork("again")
        assert again.seen() == fork.seen()
        assert told(again.diff()) == told(fork.diff())


def is_real(path: str, was: Snapshot, now: Snapshot) -> bool:
    """Whether anything at, above or below a path differs between two trees."""
    return any(
        was.get(one, (None, None))[:2] != now.get(one, (None, None))[:2]
        for one in was.keys() | now.keys()
        if one == path or one.startswith(f"{path}/") or path.startswith(f"{one}/")
    )


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, before=histories, after=histories, other=histories)
def test_second_accept_of_a_random_history_meets_real_conflicts_only_and_loses_nothing(
    host: OverlayHost,
    setup: list[list[Any]],
    before: list[list[list[Any]]],
    after: list[list[list[Any]]],
    other: list[list[list[Any]]],
) -> None:
    with project(host, setup) as first:
        for actions in before:
            first.span(actions)
        inherited = first.seen()
        fork = first.fork("fork")
        for actions in after:
            first.span(actions)
        for actions in other:
            fork.span(actions)
        try:
            first.accept()
        except ConflictError:
            return
        accepted = host.snapshot(first.lower)
        fork.mend()
        origins = {entry.path: entry.origin or entry.path for entry in fork.diff().entries}
        told_of: list[str] = []
        try:
            fork.accept()
        except ConflictError as error:
            told_of = [path for path, _ in error.conflicts]
        if told_of:
            assert host.snapshot(first.lower) == accepted
        for path in told_of:
            real = is_real(path, inherited, accepted)
            assert real or is_real(origins[path], inherited, accepted), path
