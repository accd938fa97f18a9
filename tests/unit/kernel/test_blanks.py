"""Files made ahead: one in a folder, empty, the caller's alone, and taken by one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.kernel.blanks import BLANK, make_blank, take_blank

if TYPE_CHECKING:
    from pathlib import Path


def test_a_blank_is_taken_once(tmp_path: Path) -> None:
    make_blank(str(tmp_path))
    make_blank(str(tmp_path))
    assert os.listdir(tmp_path) == [BLANK]
    assert take_blank(str(tmp_path), "one")
    assert not take_blank(str(tmp_path), "two")
    assert os.listdir(tmp_path) == ["one"]
    status = (tmp_path / "one").stat()
    assert (status.st_size, status.st_mode & 0o777, status.st_nlink) == (0, 0o600, 1)


def test_a_blank_is_found_by_its_folder_s_descriptor(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        make_blank("", fd)
        assert take_blank("", "taken", fd)
    finally:
        os.close(fd)
    assert os.listdir(tmp_path) == ["taken"]


def test_a_link_in_place_of_a_blank_leads_nowhere(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / BLANK).symlink_to(target)
    make_blank(str(tmp_path))
    assert not target.exists()
    assert take_blank(str(tmp_path), "name")
    assert (tmp_path / "name").is_symlink()  # and whoever writes to it follows none


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert not take_blank(str(tmp_path / "missing"), "name")
    with pytest.raises(FileNotFoundError):
        make_blank(str(tmp_path / "missing"))
