"""Random histories, forked: the fork shows what there was, and both go on without each other."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
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


# A directory changes places with an empty one, and no record can lead to where that one is then.
@example(
    setup=[["mkdir", "a"]],
    before=[
        [["write", "b", ""]],
        [["folder", "b"], ["mkdir", "b/a"], ["exchange", "a", "b"]],
    ],
    other=[],
)
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


BOTH = [
    ["mkdir", "d"], ["write", "d/x", "one"], ["write", "d/y", "two"], ["mkdir", "e"],
    ["write", "e/z", "three"], ["write", "f", "four"], ["write", "g", "five"],
]  # fmt: skip
# What the first world does, and whether that has to be found by what was in the directories.
IN_USE: dict[str, list[list[list[Any]]]] = {
    "two directories change places": [[["exchange", "d", "e"]]],
    "and files of theirs change": [
        [["exchange", "d", "e"]], [["append", "d/z", "1"], ["append", "e/x", "2"]],
    ],
    "a directory and a file change places": [[["exchange", "d", "f"]]],
    "and a file in it changes": [[["exchange", "d", "f"], ["append", "f/x", "1"]]],
    "a directory takes the place of a file": [[["unlink", "g"], ["rename", "d", "g"]]],
    "a directory goes into another": [[["rename", "e", "d/e"]]],
    "a new directory takes the place of one": [[["rename", "d", "h"], ["mkdir", "d"]]],
    "two files change places": [[["exchange", "f", "g"]]],
}  # fmt: skip


@pytest.mark.parametrize("word", ["nothing", "append", "unlink", "rename"])
@pytest.mark.parametrize("name", IN_USE)
def test_fork_sees_what_it_saw_after_the_first_accept_and_meets_no_conflict(
    host: OverlayHost, name: str, word: str
) -> None:
    with project(host, BOTH) as first:
        for actions in IN_USE[name]:
            first.span(actions)
        fork = first.fork("fork")
        files = [path for path, one in fork.seen().items() if one[0][0] == stat.S_IFREG]
        more = {"append": ["6"], "rename": ["{}-moved"]}.get(word, [])
        if word != "nothing":
            fork.span([[word, path, *(one.format(path) for one in more)] for path in files])
        seen = fork.seen()
        first.accept()
        fork.mend()
        assert differences(seen, fork.seen(), untimed=seen.keys()) == []
        fork.accept()
        assert differences(seen, host.snapshot(first.lower), untimed=seen.keys()) == []


def test_where_layers_stand_in_each_other_s_way_the_second_accept_changes_nothing(
    host: OverlayHost,
) -> None:
    with project(host, BOTH) as first:
        first.span([["mkdir", "d/s"]])
        first.span([["exchange", "d", "e"]])
        first.span([["write", "e/s/n", "new"]])
        fork = first.fork("fork")
        first.accept()
        accepted = host.snapshot(first.lower)
        fork.mend()
        if host.rootless:
            fork.accept()
        else:
            with pytest.raises(ConflictError):
                fork.accept()
        assert differences(accepted, host.snapshot(first.lower)) == []
