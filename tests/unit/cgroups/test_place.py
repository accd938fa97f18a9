"""What is written where, on ordinary files; real cgroups are in tests/privileged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from substrate.cgroups.convert import parse_list
from substrate.cgroups.group import Cgroup
from substrate.cgroups.hierarchy import Hierarchy, Place
from substrate.cgroups.limits import Files, Write, cgroup_files
from substrate.cgroups.owned import remove_world
from substrate.cgroups.place import missing_controllers, seat
from substrate.cgroups.writing import write_limits
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import cgroup2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Cgroup]:
    """An ordinary directory that stands for a cgroup."""
    with Cgroup(os.open(tmp_path, os.O_RDONLY), str(tmp_path)) as made:
        yield made


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("")


def test_limits_are_written(group: Cgroup, tmp_path: Path) -> None:
    files(tmp_path, "memory.max", "memory.swap.max", "pids.max")
    write_limits(group, cgroup_files({"memory": {"limit": 5, "swap": 5}, "pids": {"limit": 7}}))
    assert (tmp_path / "memory.max").read_text() == "5"
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "pids.max").read_text() == "7"


def test_a_kernel_without_swap_has_no_swap_to_forbid(group: Cgroup, tmp_path: Path) -> None:
    files(tmp_path, "memory.max")
    write_limits(group, cgroup_files({"memory": {"limit": 5, "swap": 5}}))
    with pytest.raises(UnsupportedError, match=r"no memory\.swap\.max") as caught:
        write_limits(group, cgroup_files({"memory": {"limit": 5, "swap": 6}}))
    assert caught.value.hint == "it comes from memory.swap"


def test_weights_go_where_the_scheduler_looks(group: Cgroup, tmp_path: Path) -> None:
    files(tmp_path, "io.weight")
    write_limits(group, cgroup_files({"blockIO": {"weight": 1000}}))
    assert (tmp_path / "io.weight").read_text() == "10000"
    files(tmp_path, "io.bfq.weight", "io.weight")
    write_limits(group, cgroup_files({"blockIO": {"weight": 1000}}))
    assert (tmp_path / "io.bfq.weight").read_text() == "1000"
    assert (tmp_path / "io.weight").read_text() == ""


def test_a_refused_value_is_tried_again_after_the_others(
    group: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def refuse_once(_fd: int, name: str, _value: str) -> None:
        written.append(name)
        if written.count(name) == 1 and name == "a.first":
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(cgroup2, "write", refuse_once)
    write_limits(group, Files((Write("first", "a.first", "1"), Write("second", "a.second", "2"))))
    assert written == ["a.first", "a.second", "a.first"]


@pytest.mark.parametrize(
    ("number", "resources", "hint"),
    [
        (22, {"cpu": {"quota": 5}}, "it comes from cpu.quota"),
        (
            19,
            {"blockIO": {"throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}]}},
            "it comes from blockIO.throttleReadBpsDevice; lsblk lists the devices there are",
        ),
        (16, {"memory": {"limit": 1}}, "it comes from memory.limit; more is in use"),
    ],
)
def test_a_refusal_says_where_the_value_comes_from(
    group: Cgroup,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    resources: dict[str, Any],
    hint: str,
) -> None:
    def refuse(_fd: int, _name: str, _value: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cgroup2, "write", refuse)
    with pytest.raises(SubstrateError, match=os.strerror(number)) as caught:
        write_limits(group, cgroup_files(resources))
    assert caught.value.hint == hint


def test_memory_in_use_is_compared_before_the_limit_is_lowered(
    group: Cgroup, tmp_path: Path
) -> None:
    (tmp_path / "memory.current").write_text("6000\n")
    files(tmp_path, "memory.max")
    checked = {"limit": 5000, "checkBeforeUpdate": True}
    with pytest.raises(RefusedError, match="5000 bytes, is below the 6000 in use"):
        write_limits(group, cgroup_files({"memory": checked}))
    write_limits(group, cgroup_files({"memory": checked | {"limit": 7000}}))
    assert (tmp_path / "memory.max").read_text() == "7000"


@pytest.mark.parametrize(
    ("name", "wanted", "shown", "told"),
    [
        ("cpuset.cpus", "5", "cpuset.cpus.effective", "has no effect: 0-1 is used"),
        ("cpuset.mems", "0-3", "cpuset.mems.effective", ""),
    ],
)
def test_processors_the_kernel_does_not_give_are_an_error(
    group: Cgroup, tmp_path: Path, name: str, wanted: str, shown: str, told: str
) -> None:
    files(tmp_path, name)
    (tmp_path / shown).write_text("0-1\n")
    limits = cgroup_files({"unified": {name: wanted}})
    if not told:
        write_limits(group, limits)
        return
    with pytest.raises(SubstrateError, match=told):
        write_limits(group, limits)


def test_an_invalid_partition_is_an_error(group: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup2, "write", lambda *_words: None)
    monkeypatch.setattr(cgroup2, "read", lambda *_words: "root invalid (no reason)")
    with pytest.raises(SubstrateError, match="is root invalid"):
        write_limits(group, cgroup_files({"unified": {"cpuset.cpus.partition": "root"}}))


def test_lists_of_processors_are_read() -> None:
    assert parse_list("0-3,7") == {0, 1, 2, 3, 7}
    assert parse_list("") == frozenset()
    assert parse_list("5-x, 2") == {2}


def test_the_first_process_sits_in_the_leaf_where_there_is_one(
    group: Cgroup, tmp_path: Path
) -> None:
    with seat(group) as place:
        assert place.directory == str(tmp_path)
        assert place.fd != group.fd
    (tmp_path / "init").mkdir()
    with seat(group) as place:
        assert place.directory == f"{tmp_path}/init"


def test_what_is_no_cgroup_is_never_removed(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="not on a cgroup2"):
        remove_world(str(tmp_path), "anybody")
    assert tmp_path.exists()
    assert remove_world(str(tmp_path / "gone"), "anybody")


def test_no_hierarchy_means_no_place(tmp_path: Path) -> None:
    place = Place(str(tmp_path), ("substrate", "w"))
    with pytest.raises(UnsupportedError):
        missing_controllers(Hierarchy("", "/", "/"), place, cgroup_files(None))
