"""The diff of a layer is what a walk over the merged tree finds, whatever a world does."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings

from substrate.filesystem.diff import diff_layer
from tests.support.actions import SETTINGS, sequences, setups
from tests.support.ahead import both_ways
from tests.support.examples import examples
from tests.support.walks import check

if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import OverlayHost, Snapshot

pytestmark = pytest.mark.requires("overlayfs")


def play(
    host: OverlayHost, where: str, setup: list[list[Any]], actions: list[list[Any]]
) -> tuple[Snapshot, Snapshot, FsDiff]:
    """Do the actions on an overlay over what `setup` makes; the trees before and after."""
    directory = tempfile.mkdtemp(prefix="substrate-diff-", dir=where)
    try:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{directory}/{name}")
        host.act(f"{directory}/lower", setup)
        host.mount(directory)
        try:
            before = host.snapshot(f"{directory}/merged")
            host.act(f"{directory}/merged", actions)
            after = host.snapshot(f"{directory}/merged")
            layer, project = f"{directory}/upper", f"{directory}/lower"
            diff = both_ways(lambda: diff_layer(layer, project, host.prefix))
        finally:
            host.unmount(directory)
        return before, after, diff
    finally:
        shutil.rmtree(directory)


# The last name of a copied file goes with its directory; its other name shows the copy.
@example(
    setup=[["mkdir", "a"], ["write", "b", ""], ["link", "b", "a/c"]],
    actions=[["write", "a/c", "1"], ["folder", "a"]],
)
# Moved out of a directory that is moved itself, and a new file takes its name there.
@example(
    setup=[["mkdir", "a"], ["mkdir", "a/a"], ["write", "a/a/x", "one"], ["write", "a/b", ""]],
    actions=[["rename", "a/a", "c"], ["write", "a/a", "two"], ["rename", "a", "d"]],
)
# Something new in a directory that was moved into one that is known by its content alone.
@example(
    setup=[
        ["mkdir", "a"],
        ["mkdir", "c"],
        ["mkdir", "c/a"],
        ["mkdir", "c/b"],
        ["write", "c/b/b", "one"],
    ],
    actions=[["rename", "a", "c/a/a"], ["rename", "c/a", "c/b/a"], ["rename", "c", "a"]],
)
# Two directories change places, and a file in one of them changes.
@example(
    setup=[["mkdir", "a"], ["write", "a/x", "one"], ["mkdir", "b"], ["write", "b/x", "two"]],
    actions=[["exchange", "a", "b"], ["append", "b/x", "1"]],
)
@settings(SETTINGS, max_examples=examples(300))
@given(setup=setups, actions=sequences)
def test_diff_is_what_a_walk_before_and_after_finds(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]]
) -> None:
    check(*play(host, "/dev/shm", setup, actions))


@settings(SETTINGS, max_examples=examples(15))
@given(setup=setups, actions=sequences)
def test_diff_is_what_a_walk_finds_on_the_disk_file_system_too(
    host: OverlayHost,
    tmp_path_factory: pytest.TempPathFactory,
    setup: list[list[Any]],
    actions: list[list[Any]],
) -> None:
    check(*play(host, str(tmp_path_factory.getbasetemp()), setup, actions))
