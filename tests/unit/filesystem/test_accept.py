"""The parts of an accept that need no kernel: records, identities, owners, paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.errors import SubstrateError
from substrate.filesystem.baseline import read_baseline, write_baseline
from substrate.filesystem.copying import Metadata
from substrate.filesystem.identity import Identity, identity_of
from substrate.filesystem.journal import RECORD, Record, Store, read_record
from substrate.filesystem.known import Known, read_copies
from substrate.filesystem.operations import IN, OUT, SET, SWAP, Operation, operation_from
from substrate.filesystem.owners import Owners
from substrate.filesystem.plan_accept import FolderTime
from substrate.filesystem.renames import after_renames

if TYPE_CHECKING:
    from pathlib import Path

ONE = Identity(1, 0o100644, 3, 4, 5)
TWO = Identity(2, 0o100600, 6, 7, 8)
META = Metadata(0o644, 1, 2, 3, (("user.a", b"\xff\x00"),))


def operation(kind: str) -> Operation:
    made = Operation(kind, "d/\udcff\n", 7, moved=True)
    made.there, made.after = ONE, TWO
    made.old = META
    return made


@pytest.mark.parametrize("kind", [IN, OUT, SWAP, SET])
def test_an_operation_is_read_back_as_it_was(kind: str) -> None:
    stored = operation(kind).to_json()
    assert operation_from(stored).to_json() == stored
    assert operation_from(stored).path == "d/\udcff\n"


@pytest.mark.parametrize(("kind", "other"), [(IN, OUT), (OUT, IN), (SWAP, SWAP), (SET, SET)])
def test_the_opposite_expects_what_the_operation_left(kind: str, other: str) -> None:
    found = operation(kind).opposite()
    assert found.kind == other
    assert (found.there, found.staged) == (TWO, ONE)
    assert (found.old, found.new) == (None, META)


def test_a_record_is_read_back_as_it_was_and_a_torn_one_is_told(tmp_path: Path) -> None:
    record = Record("/p\udcff", 1, 2)
    record.operations = (operation(IN), operation(SET))
    record.times_after = (FolderTime("d", 3),)
    record.clean_folders = (("a", "b"),)
    record.settle = {"empty": True}
    record.write(str(tmp_path))
    found = read_record(str(tmp_path))
    assert found is not None
    assert found.project == "/p\udcff"
    assert [one.to_json() for one in found.operations] == [
        one.to_json() for one in record.operations
    ]
    assert (found.times_after, found.clean_folders) == (record.times_after, record.clean_folders)
    assert found.settle == {"empty": True}
    path = tmp_path / RECORD
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SubstrateError, match="is damaged"):
        read_record(str(tmp_path))
    path.unlink()
    assert read_record(str(tmp_path)) is None


def test_changes_are_numbered_and_found_in_order(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert store.numbers() == []
    store.prepare()
    for number in (10, 9, 2):
        os.mkdir(store.place(number))
    assert store.numbers() == [2, 9, 10]


def test_a_file_is_known_until_anybody_touches_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x", "utf-8")
    known = Known(str(tmp_path))
    assert not known.holds(path.stat())
    known.add(identity_of(path.stat()))
    known.write()
    again = Known(str(tmp_path))
    assert again.holds(path.stat())
    path.chmod(0o600)
    assert not again.holds(path.stat())


def test_a_copy_stands_for_what_it_was_restored_from(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x", "utf-8")
    known = Known(str(tmp_path))
    known.add(identity_of(path.stat()), 777)
    left = Identity(777, 0o100644, 1, 2, 3)
    assert known.is_what_was_left(path.stat(), left)
    path.write_text("y", "utf-8")
    assert not known.is_what_was_left(path.stat(), left)


def test_copies_stand_for_the_first_original_and_are_found_without_the_rest(tmp_path: Path) -> None:
    known = Known(str(tmp_path))
    known.add(ONE)
    known.write()
    assert read_copies(str(tmp_path)) == {}
    known.add(TWO, 1)
    known.add(Identity(3, 0o100644, 3, 4, 5), known.stands_for(TWO))
    # What has its number, and is not what was left, stands for nothing else.
    assert known.stands_for(Identity(2, 0o100644, 9, 9, 9)) == 2
    # What is seen again is what it was; what is made anew may only have the number of another.
    known.add(Identity(2, 0o100600, 6, 7, 9))
    known.write()
    assert read_copies(str(tmp_path)) == {2: 1, 3: 1}
    known.add(Identity(3, 0o100644, 8, 9, 10), new=True)
    known.write()
    assert read_copies(str(tmp_path)) == {2: 1}
    assert Known(str(tmp_path)).copies == {2: 1}


def test_ids_of_the_world_alone_become_the_projects_owner() -> None:
    owners = Owners(10, 20, ((100000, 65536),), ((100000, 65536),))
    assert owners.fit(Metadata(0o644, 100005, 5, 0, ())) == Metadata(0o644, 10, 5, 0, ())
    assert owners.fit(Metadata(0o644, 165536, 100000, 0, ())) == Metadata(0o644, 165536, 20, 0, ())


def test_the_innermost_rename_decides_where_something_is() -> None:
    renames = {"a": "b", "a/c": "d"}
    found = [after_renames(path, renames) for path in ("a", "a/x", "a/c/y", "ab", "")]
    assert found == ["b", "b/x", "d/y", "ab", ""]


def test_a_baseline_tells_the_project_from_another_directory(tmp_path: Path) -> None:
    project, layer = tmp_path / "p", tmp_path / "l"
    project.mkdir()
    layer.mkdir()
    assert read_baseline(str(layer)) is None
    write_baseline(str(layer), str(project))
    found = read_baseline(str(layer))
    assert found is not None
    assert found.is_root(project.stat())
    assert found.same_root(project.stat())
    assert not found.is_root(layer.stat())
    later = project / "later"
    later.touch()
    assert later.stat().st_ctime_ns >= found.created_ns
    project.chmod(0o700)
    assert not found.same_root(project.stat())
    (layer / "baseline.json").write_text("[1,", "utf-8")
    assert read_baseline(str(layer)) is None
