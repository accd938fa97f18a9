"""The table of a copy is what was written; owners are shifted there and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.errors import SubstrateError
from substrate.filesystem.copies.intents import (
    Intents,
    forget_intents,
    is_within,
    read_intents,
)
from substrate.filesystem.copies.owners import Shift, with_owner
from substrate.filesystem.copies.table import Row, Table, read_table, seen

if TYPE_CHECKING:
    from pathlib import Path

COPIED = (7, 0o100644, 524288, 524289, 5, 1_000_000_001, 2_000_000_002)
FOUND = (9, 0o100644, 0, 1, 5, 1_000_000_001, 1_000_000_003)
ROWS = {
    "": Row((1, 0o040755, 0, 0, 60, 1, 2), 3, (4, 0o040755, 0, 0, 60, 1, 2)),
    "a": Row(COPIED, 11, FOUND),
    "new\nline": Row(COPIED, 11, ()),
    "\udcff/b": Row((8, 0o120777, 0, 0, 1, -1, 2), 0, FOUND),
}


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    Table(ROWS, Shift(524288, 600000, 65536)).write(path)
    found = read_table(path)
    assert found.rows == ROWS
    assert found.shift == Shift(524288, 600000, 65536)
    assert os.listdir(tmp_path) == ["table"]


@pytest.mark.parametrize("cut", [1, 40, 120])
def test_a_table_that_is_cut_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "table"
    Table(ROWS, Shift()).write(str(path))
    path.write_bytes(path.read_bytes()[:-cut] if cut > 1 else b"")
    with pytest.raises(SubstrateError, match="is damaged"):
        read_table(str(path))


def test_a_file_is_known_by_inode_and_birth_together() -> None:
    table = Table(ROWS, Shift())
    assert table.paths_of(7, 11) == ["a", "new\nline"]
    assert table.paths_of(7, 12) == []
    # Where no birth is kept, a number that was given again cannot be told from the first.
    assert table.paths_of(8, 0) == []


def test_names_in_a_directory_and_in_the_project() -> None:
    table = Table(ROWS, Shift())
    assert sorted(table.children("")) == ["a", "new\nline"]
    assert table.children("\udcff") == ["b"]
    assert table.names_in_project(9) == 2


@given(uid=st.integers(0, 2**32 - 2), gid=st.integers(0, 524287))
def test_owners_come_back_from_where_they_were_shifted(uid: int, gid: int) -> None:
    shift = Shift(524288, 524288, 65536)
    if not 524288 <= uid < 524288 + 65536:
        assert shift.back(*shift.into(uid, gid)) == (uid, gid)
    assert shift.into(0, 0) == (524288, 524288)


def test_without_a_shift_owners_stay() -> None:
    assert Shift().into(0, 1000) == Shift().back(0, 1000) == (0, 1000)


def test_a_status_with_another_owner_is_the_same_otherwise(tmp_path: Path) -> None:
    status = os.stat(tmp_path)
    other = with_owner(status, 12, 34)
    assert (other.st_uid, other.st_gid) == (12, 34)
    assert seen(with_owner(other, status.st_uid, status.st_gid)) == seen(status)
    assert (other.st_nlink, other.st_rdev, other.st_dev) == (
        status.st_nlink, status.st_rdev, status.st_dev
    )  # fmt: skip


def test_intents_outlive_their_writer_until_they_are_forgotten(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert read_intents(directory) == (set(), set())
    Intents(directory).note("d/new\nline")
    again = Intents(directory)
    again.note("d", itself=True)
    again.note("\udcff")
    assert read_intents(directory) == ({"d/new\nline", "\udcff"}, {"d"})
    forget_intents(directory)
    assert read_intents(directory) == (set(), set())


def test_what_is_in_a_place_is_within_it() -> None:
    assert is_within("a/b/c", {"a/b"})
    assert is_within("a/b", {"a/b"})
    assert not is_within("a/bc", {"a/b"})
    assert not is_within("", {"a"})
