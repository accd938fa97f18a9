"""Changes that a bundle names, by pattern and by what they take along."""

from __future__ import annotations

import os

import pytest

from substrate.filesystem.entries import DELETE, MOD, RENAME, WRITE, Entry, make_diff
from substrate.filesystem.named import mark_isolated, mark_named
from substrate.filesystem.risky import ISOLATED, NAMED, READ_ONLY


def _entry(change: str, path: str, origin: str = "") -> Entry:
    entry = Entry(change, path, "file", os.stat_result((0o100644, *(0,) * 9)))
    entry.origin = origin
    return entry


@pytest.mark.parametrize(
    ("pattern", "change", "path", "origin", "is_meant"),
    [
        ("LICENSE", MOD, "LICENSE", "", True),
        ("LICENSE", MOD, "sub/LICENSE", "", False),
        ("**/*.sql", WRITE, "a/b/x.sql", "", True),
        ("**/*.sql", WRITE, "x.sql", "", True),
        ("vendor", WRITE, "vendor/new/file", "", True),
        ("vendor", WRITE, "vendors", "", False),
        ("a/b/c", WRITE, "a/b", "", False),
        # What is named goes with the directory it is in.
        ("a/b/c", RENAME, "z", "a", True),
        ("a/b/c", DELETE, "a/b", "", True),
        ("a/b/c", RENAME, "a/b/c", "x", True),
        ("a/b/c", RENAME, "y", "x", False),
        (".", MOD, "anything", "", True),
    ],
)
def test_a_pattern_means_what_it_names(
    pattern: str, change: str, path: str, origin: str, *, is_meant: bool
) -> None:
    diff = mark_named(make_diff([_entry(change, path, origin)]), (pattern,), ())
    assert diff.entries[0].risky == ((NAMED,) if is_meant else ())
    assert diff.summary.risky == is_meant


def test_each_reason_is_told_once() -> None:
    diff = make_diff([_entry(MOD, "x")])
    twice = mark_named(mark_named(diff, ("x",), ("x",)), ("x",), ("*",))
    assert twice.entries[0].risky == (NAMED, READ_ONLY)


@pytest.mark.parametrize(
    ("path", "origin", "is_meant"),
    [("a/b", "", True), ("a/b/new", "", True), ("a", "", True), ("a/bc", "", False),
     ("z", "a/b", True), ("c", "", False)],
)  # fmt: skip
def test_what_isolated_commands_changed_is_marked_with_what_is_in_it(
    path: str, origin: str, *, is_meant: bool
) -> None:
    diff = mark_isolated(make_diff([_entry(MOD, path, origin)]), {"a/b"})
    assert diff.entries[0].risky == ((ISOLATED,) if is_meant else ())
    assert mark_isolated(diff, {""}).entries[0].risky == (ISOLATED,)
