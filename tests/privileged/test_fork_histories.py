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

from substrate.errors import ConflictError, SubstrateError
from tests.support.accepting import differences
from tests.support.actions import SETTINGS, changing, setups
from tests.support.examples import examples
from tests.support.forking import StackedWorld
from tests.support.people import marked, written_by_person
from tests.support.walks import check

if TYPE_CHECKING:
    from collections.abc import Generator

    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import OverlayHost

pytestmark = pytest.mark.requires("root", "overlayfs")

histories = st.lists(st.lists(st.one_of(changing), min_size=1, max_size=10), max_size=4)


@contextmanager
def project(host: OverlayHost, setup: list[list[Any]]) -> Generator[StackedWorld]:
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
        seen = first.seen()
        fork = first.fork("fork")
        assert fork.seen() == seen
        # Not word for word: what was moved has its content in a fork, and may be told as new.
        check(real, seen, fork.diff())
        changed = told(fork.diff())
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
        check(real, again.seen(), again.diff())


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, before=histories, other=histories)
def test_second_accept_makes_the_project_what_the_fork_saw_or_changes_nothing(
    host: OverlayHost,
    setup: list[list[Any]],
    before: list[list[list[Any]]],
    other: list[list[list[Any]]],
) -> None:
    with project(host, setup) as first:
        for actions in before:
            first.span(actions)
        fork = first.fork("fork")
        for actions in other:
            fork.span(actions)
        seen = fork.seen()
        first.accept()
        accepted = host.snapshot(first.lower)
        fork.mend()
        try:
            fork.accept()
        except SubstrateError:
            assert host.snapshot(first.lower) == accepted
            return
        shown = host.snapshot(first.lower)
        # A file with several names has one time, and each world may have touched another name.
        assert differences(seen, shown, untimed=seen.keys()) == []


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, before=histories, after=histories, other=histories)
def test_second_accept_keeps_what_the_first_world_changed_alone_or_changes_nothing(
    host: OverlayHost,
    setup: list[list[Any]],
    before: list[list[list[Any]]],
    after: list[list[list[Any]]],
    other: list[list[list[Any]]],
) -> None:
    with project(host, setup) as first:
        for actions in before:
            first.span(actions)
        fork = first.fork("fork")
        for actions in after:
            first.span(marked(actions))
        for actions in other:
            fork.span(actions)
        try:
            first.accept()
        except ConflictError:
            return
        accepted, texts = host.snapshot(first.lower), written_by_person(first.lower)
        fork.mend()
        try:
            fork.accept()
        except SubstrateError:
            assert host.snapshot(first.lower) == accepted
            return
        assert written_by_person(first.lower) >= texts
