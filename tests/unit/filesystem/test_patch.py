"""A patch names files as git does, and shows content only where it is text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from substrate.filesystem.diff import Changes
from substrate.filesystem.patch import patch_lines
from substrate.filesystem.recorded import from_json

if TYPE_CHECKING:
    from pathlib import Path


def changes(folder: Path, below: dict[bytes, bytes], above: dict[bytes, bytes]) -> Changes:
    for name, files in (("upper", above), ("lower", below)):
        (folder / name).mkdir()
        for path, content in files.items():
            with open(os.fsencode(folder / name) + b"/" + path, "wb") as file:
                file.write(content)
    return Changes([str(folder / "upper")], [str(folder / "lower")], "user.overlay.")


def test_changed_lines_are_shown_with_their_surroundings(tmp_path: Path) -> None:
    with changes(tmp_path, {b"a": b"1\n2\n"}, {b"a": b"1\ntwo\n"}) as found:
        assert list(patch_lines(found.diff)) == [
            "diff --git a/a b/a", "--- a/a", "+++ b/a", "@@ -1,2 +1,2 @@", " 1", "-2", "+two",
        ]  # fmt: skip


def test_missing_end_of_the_last_line_and_odd_line_ends_are_kept(tmp_path: Path) -> None:
    with changes(tmp_path, {}, {b"a": b"x\x0cy\r\nz"}) as found:
        assert list(patch_lines(found.diff))[4:] == [
            "@@ -0,0 +1,2 @@", "+x\x0cy\r", "+z", "\\ No newline at end of file",
        ]  # fmt: skip


def test_names_that_are_not_plain_are_quoted(tmp_path: Path) -> None:
    with changes(tmp_path, {}, {b'n\n"\xff\x1b': b"x\n"}) as found:
        first = next(patch_lines(found.diff))
    assert first == 'diff --git "a/n\\n\\"\\377\\033" "b/n\\n\\"\\377\\033"'


def test_binary_files_are_only_named(tmp_path: Path) -> None:
    with changes(tmp_path, {b"a": b"\0"}, {b"a": b"\0\0"}) as found:
        assert list(patch_lines(found.diff))[-1] == "Binary files a/a and b/a differ"


def test_diff_comes_back_from_its_json_as_it_was(tmp_path: Path) -> None:
    above = {b"new": b"x", b"\xff\xfe": b"", "ü".encode(): b"y", b"a": b"2"}
    with changes(tmp_path, {b"a": b"1"}, above) as found:
        told = found.diff.to_json(touched=True)
    back = from_json(told)
    assert back.to_json(touched=True) == told
    assert back.summary == found.diff.summary
    assert [entry.path for entry in back.entries] == [entry.path for entry in found.diff.entries]
