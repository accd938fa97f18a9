"""Paths and patterns as a person writes them, against the entries of a diff."""

from __future__ import annotations

import os

import pytest

from substrate.errors import RefusedError, UsageError
from substrate.filesystem.choosing import choose
from substrate.filesystem.entries import DELETE, MOD, RENAME, TOUCHED, WRITE, Entry


def entry(change: str, path: str, origin: str = "", kind: str = "file") -> Entry:
    made = Entry(change, path, kind, os.stat_result((0,) * 10))
    made.origin = origin
    return made


ENTRIES = [
    entry(MOD, "a.c"),
    entry(DELETE, "gone", kind="dir"),
    entry(DELETE, "gone/in"),
    entry(WRITE, "new", kind="dir"),
    entry(WRITE, "new/deep", kind="dir"),
    entry(WRITE, "new/deep/x.c"),
    entry(WRITE, "new/y.h"),
    entry(RENAME, "there", "here", kind="dir"),
    entry(MOD, "there/z.c", "here/z.c"),
    entry(MOD, "odd[1]"),
    entry(TOUCHED, "only-touched"),
]


@pytest.mark.parametrize(
    ("wanted", "paths"),
    [
        (("a.c",), ["a.c"]),
        (("gone",), ["gone", "gone/in"]),
        (("gone/in",), ["gone/in"]),
        (("new/y.h",), ["new", "new/y.h"]),
        (("new/deep/x.c",), ["new", "new/deep", "new/deep/x.c"]),
        (("*.c",), ["a.c"]),
        (("new/**/*.c",), ["new", "new/deep", "new/deep/x.c"]),
        (("**/*.h",), ["new", "new/y.h"]),
        (("n?w",), ["new", "new/deep", "new/deep/x.c", "new/y.h"]),
        (("here",), ["there", "there/z.c"]),
        (("odd[1]",), ["odd[1]"]),
        (("[ag]*",), ["a.c", "gone", "gone/in"]),
        (("",), [one.path for one in ENTRIES]),
        ((), [one.path for one in ENTRIES]),
    ],
)
def test_a_path_means_what_is_at_it_and_in_it(wanted: tuple[str, ...], paths: list[str]) -> None:
    assert [one.path for one in choose(ENTRIES, wanted)] == paths


def test_what_was_in_a_directory_that_is_replaced_goes_with_it_wherever_it_was() -> None:
    replaced = entry(MOD, "there/was-dir", "here/was-dir")
    replaced.kind_before = "dir"
    inside, other = entry(DELETE, "here/was-dir/in"), entry(DELETE, "here/other")
    entries = [other, inside, entry(RENAME, "there", "here", kind="dir"), replaced]
    chosen = choose(entries, ["there"])
    assert [one.path for one in chosen] == ["here/was-dir/in", "there", "there/was-dir"]


@pytest.mark.parametrize("wanted", ["b.c", "*.py", "ne", "new/deep/x", "only-touched", "odd[2]"])
def test_a_path_at_which_nothing_changed_is_an_error(wanted: str) -> None:
    with pytest.raises(UsageError, match="nothing has changed at"):
        choose(ENTRIES, ["a.c", wanted])


def test_what_is_in_a_moved_directory_is_not_taken_without_it() -> None:
    with pytest.raises(RefusedError, match="in a moved directory: here -> there"):
        choose(ENTRIES, ["there/z.c"])


def test_parents_stay_out_when_nothing_is_to_be_made() -> None:
    assert [one.path for one in choose(ENTRIES, ["new/y.h"], parents=False)] == ["new/y.h"]
