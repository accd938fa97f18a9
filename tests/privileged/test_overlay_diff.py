"""The diff of a layer is what a walk over the merged tree finds, whatever a world does."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from substrate.filesystem.diff import diff_layer
from tests.support.ahead import both_ways
from tests.support.examples import examples
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import Snapshot

pytestmark = pytest.mark.requires("overlayfs")

NAMES = ("a", "b", "c", "d", ".wh.a", "new\nline", "\udcff\udcfe", "x" * 255)
TEXTS = ("", "1", "one", "two", "x" * 5000)

names = st.sampled_from(NAMES[:4]) | st.sampled_from(NAMES)
there = st.integers(0, 30).map("@{}".format)
fresh = st.tuples(there, names).map("/".join) | names
paths = there | fresh
texts = st.sampled_from(TEXTS)
keys = st.sampled_from(("user.one", "user.two"))
# What only a world does: names the overlay must hide from its own.
forged = st.sampled_from(
    (
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "user.overlay.redirect",
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
    )
)


def _action(
    word: str, where: st.SearchStrategy[str], *arguments: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Any]]:
    return st.tuples(st.just(word), where, *arguments).map(list)


making = (
    _action("write", fresh, texts),
    _action("write", fresh, texts),
    _action("mkdir", fresh),
    _action("mkdir", fresh),
    _action("symlink", fresh, names),
    _action("link", there, fresh),
    _action("mkfifo", fresh),
    # Null, and one that nobody drives: a move between mounts copies what it reads from a device.
    _action("mknod", fresh, st.sampled_from((3, 12))),
    _action("truncate", there, st.sampled_from((0, 2, 70_000))),
    _action("setxattr", there, keys, texts),
    _action("chmod", there, st.sampled_from((0o600, 0o644, 0o755, 0o4755))),
)
changing = (
    *making,
    _action("write", there, texts),
    _action("append", there, texts),
    _action("open", there),
    _action("remove", there),
    _action("rmdir", there),
    _action("rename", there, fresh),
    _action("rename", there, fresh),
    _action("rename", there, paths),
    _action("move", there, fresh),
    _action("exchange", there, there),
    _action("chown", there, st.sampled_from((0, 1000)), st.sampled_from((0, 1000))),
    _action("removexattr", there, keys),
    _action("setxattr", there, forged, st.sampled_from(("y", "x", "/a", "../../etc", "b"))),
    _action("touch", there, st.sampled_from((1, 1_000_000_000))),
    _action("folder", there),
    _action("file", there, texts),
)
setups = st.lists(st.one_of(making), min_size=15, max_size=40)
sequences = st.lists(st.one_of(changing), min_size=5, max_size=25)


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest) -> Iterator[OverlayHost]:
    with OverlayHost(rootless=request.param) as started:
        yield started


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


def check(before: Snapshot, after: Snapshot, diff: FsDiff) -> None:
    """Compare the diff with the two walks, path by path and as a whole."""
    _check_sets(before, after, diff)
    _check_origins(before, after, diff)


def _inside(tree: Snapshot, root: str) -> set[str]:
    return {path for path in tree if path == root or path.startswith(root + "/")}


def _check_sets(before: Snapshot, after: Snapshot, diff: FsDiff) -> None:
    deleted, written = set(diff.deletes), set(diff.writes)
    for old, new in diff.renames:
        deleted |= _inside(before, old)
        written |= _inside(after, new)
    both = before.keys() & after.keys()
    changed = {path for path in both if before[path][0] != after[path][0]}
    meta = {path for path in both - changed if before[path][1] != after[path][1]}
    assert deleted == before.keys() - after.keys()
    assert written == after.keys() - before.keys()
    assert set(diff.mods) - written == changed
    assert set(diff.meta) - written == meta
    lists = [diff.writes, diff.mods, diff.deletes, diff.meta, diff.touched]
    lists.append(tuple(new for _, new in diff.renames))
    assert all(list(paths) == sorted(set(paths)) for paths in lists[:-1])
    assert len(lists[-1]) == len(set(lists[-1]))


def _check_origins(before: Snapshot, after: Snapshot, diff: FsDiff) -> None:
    """Undo the renames: everything not listed must be exactly what it was."""
    old_of = {new: old for old, new in diff.renames}
    writes, mods, meta = set(diff.writes), set(diff.mods), set(diff.meta)
    origins: set[str] = set()
    for path, (content, metadata, times) in after.items():
        if path in writes:
            continue
        origin, parts = path, path.split("/")
        for length in range(len(parts), 0, -1):
            new = "/".join(parts[:length])
            if new in old_of:
                origin = "/".join([old_of[new], *parts[length:]])
                break
        origins.add(origin)
        old_content, old_metadata, old_times = before[origin]
        assert (path in mods) == (content != old_content)
        if path not in mods:
            assert (path in meta) == (metadata != old_metadata)
        unchanged = path not in mods and path not in meta
        if unchanged and origin == path and len(content) > 1 and times != old_times:
            assert path in diff.touched
        elif path in diff.touched:
            assert unchanged
    assert set(diff.deletes) == before.keys() - origins


SETTINGS = settings(
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


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
