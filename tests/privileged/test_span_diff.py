"""The diff of each layer of a stack is what a walk over the merged tree finds; so is their sum."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from substrate.filesystem.clashes import first_clash
from substrate.filesystem.diff import Changes, diff_layers
from substrate.filesystem.squash import squash
from tests.support.accepting import differences
from tests.support.actions import SETTINGS, changing, setups
from tests.support.ahead import both_ways
from tests.support.examples import examples
from tests.support.overlay import OverlayHost
from tests.support.walks import check, without

if TYPE_CHECKING:
    from collections.abc import Generator

    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import Snapshot

    # What was seen before a span and after it, and its diff.
    Result = tuple[Snapshot, Snapshot, FsDiff]

pytestmark = pytest.mark.requires("overlayfs")

spans = st.lists(st.lists(st.one_of(changing), min_size=1, max_size=12), min_size=2, max_size=5)


@contextmanager
def played(
    host: OverlayHost, setup: list[list[Any]], spans: list[list[list[Any]]]
) -> Generator[tuple[list[str], list[Result]]]:
    """Do the actions of each span in a layer of its own; the topmost of the layers comes first."""
    directory = tempfile.mkdtemp(prefix="substrate-span-", dir="/dev/shm")
    try:
        for name in ("lower", "merged"):
            os.mkdir(f"{directory}/{name}")
        host.act(f"{directory}/lower", setup)
        lowers: list[str] = [f"{directory}/lower"]
        results = [
            _span(host, directory, number, actions, lowers)
            for number, actions in enumerate(spans, 1)
        ]
        yield lowers, results
    finally:
        shutil.rmtree(directory)


def play(host: OverlayHost, setup: list[list[Any]], spans: list[list[list[Any]]]) -> list[Result]:
    """Play spans; the last result is of all layers."""
    with played(host, setup, spans) as (lowers, results):
        diff = both_ways(lambda: diff_layers(lowers[:-1], lowers[-1:], host.prefix))
        directory = os.path.dirname(lowers[-1])
        _dropped(host, directory, lowers, results)
        _squashed(host, directory, lowers, (results[0][0], results[-1][1]))
        return [*results, (results[0][0], results[-1][1], diff)]


def _span(
    host: OverlayHost, directory: str, number: int, actions: list[list[Any]], lowers: list[str]
) -> Result:
    upper = f"{directory}/upper{number}"
    os.mkdir(upper)
    os.mkdir(f"{directory}/work{number}")
    _copy_root(lowers[0], upper)
    host.stack(directory, number)
    try:
        before = host.snapshot(f"{directory}/merged")
        host.act(f"{directory}/merged", actions)
        after = host.snapshot(f"{directory}/merged")
    finally:
        host.unmount(directory)
    diff = both_ways(lambda: diff_layers([upper], lowers, host.prefix))
    lowers.insert(0, upper)
    return before, after, diff


def _dropped(
    host: OverlayHost,
    directory: str,
    lowers: list[str],
    results: list[Result],
) -> None:
    """Check that without the layer of a span, where one can go, exactly its changes are gone."""
    for number, (before, _, diff) in enumerate(results):
        place = len(results) - 1 - number
        mine, later = lowers[place], lowers[:place]
        if any(first_clash(mine, diff, one, host.prefix) is not None for one in later):
            continue
        left = [*lowers[:place], *lowers[place + 1 :]]
        if len(left) < 2:
            continue
        host.show(directory, [os.path.basename(path) for path in left])
        try:
            shown = host.snapshot(f"{directory}/merged")
        finally:
            host.unmount(directory)
        expected = without(before, results[-1][1], diff.entries, {})
        assert differences(expected, shown, folder_times=False, untimed=set(diff.touched)) == []


def _squashed(
    host: OverlayHost, directory: str, lowers: list[str], trees: tuple[Snapshot, Snapshot]
) -> None:
    """Check that the layers made into one, all or but for the lowest, show what they did."""
    first, seen = trees
    for number, kept in ((8, lowers[-1:]), (9, lowers[-2:])):
        layers = lowers[: len(lowers) - len(kept)]
        target = f"{directory}/upper{number}"
        os.mkdir(target)
        squash(layers, kept, host.prefix, target)
        below = [target, *kept]
        host.show(directory, [os.path.basename(path) for path in below])
        try:
            shown = host.snapshot(f"{directory}/merged")
        finally:
            host.unmount(directory)
        assert shown == seen
        check(first, seen, diff_layers(below[:-1], lowers[-1:], host.prefix))


def _copy_root(source: str, target: str) -> None:
    """Give a new layer the root of the one below, as `make_layer` does."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    for key in os.listxattr(source):
        if not key.startswith(("trusted.overlay.", "user.overlay.")):
            os.setxattr(target, key, os.getxattr(source, key))
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_undos_have_restored_in_the_project_is_not_asked_of_files_of_earlier_layers() -> None:
    setup = [["write", "a", "one"]]
    spans = [[["write", "b", "two"]], [["append", "b", "1"], ["rename", "b", "c"]]]
    with OverlayHost(rootless=False) as host, played(host, setup, spans) as (layers, _):
        # On its own file system the layer's file has a number that one in the project may have.
        number = os.stat(f"{layers[1]}/b").st_ino
        with Changes(layers[:1], layers[1:], host.prefix, "", {number: 1}) as changes:
            told = {(one.change, one.origin, one.path) for one in changes.diff.entries}
        assert told == {("rename", "b", "c"), ("mod", "b", "c")}


# A file of a directory that an earlier span renamed is moved out of it.
@example(
    setup=[["mkdir", "a"], ["write", "a/x", "one"]],
    spans=[[["rename", "a", "b"]], [["rename", "b/x", "c"]], [["append", "c", "1"]]],
)
# Metadata in one span, a move in the next, content in the third.
@example(
    setup=[["write", "a", "one"]],
    spans=[[["chmod", "a", 0o600]], [["rename", "a", "b"]], [["append", "b", "1"]]],
)
# One name of a file with two is moved, into a directory that has nothing else of below.
@example(
    setup=[["write", "a", "1"], ["link", "a", "b"], ["mkdir", "d"]],
    spans=[[["rename", "a", "d/a"]], [["open", "d/a"], ["rename", "d/a", "c"]]],
)
# Removed, made again, removed again.
@example(
    setup=[["mkdir", "a"], ["write", "a/x", "one"]],
    spans=[[["remove", "a"]], [["mkdir", "a"], ["write", "a/y", "1"]], [["remove", "a"]]],
)
# Moved away and back over three spans, with something else in its place between.
@example(
    setup=[["mkdir", "a"], *(["mkdir", f"a/{name}"] for name in "bc"), ["write", "a/b/old", "0"]],
    spans=[
        [["write", "a/b/f", "1"], ["write", "a/c/f", "1"]],
        [
            *(["rename", "a", "d"], ["mkdir", "a"], ["mkdir", "a/b"], ["mkdir", "a/c"]),
            *(["write", "a/b/f", "2"], ["write", "a/c/f", "2"]),
        ],
        [["remove", "a"], ["rename", "d", "a"]],
    ],
)
@settings(SETTINGS, max_examples=examples(100))
@given(setup=setups, spans=spans)
def test_diff_of_every_span_is_what_a_walk_before_and_after_finds(
    host: OverlayHost, setup: list[list[Any]], spans: list[list[list[Any]]]
) -> None:
    results = play(host, setup, spans)
    for before, after, diff in results:
        check(before, after, diff)
    for (_, after, _), (before, _, _) in pairwise(results[:-1]):
        # Nothing changes by sealing a layer.
        assert after == before
