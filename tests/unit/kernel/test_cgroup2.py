from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from substrate.errors import UnsupportedError
from substrate.kernel import cgroup2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of an ordinary directory, which stands for a cgroup's."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_an_ordinary_directory_is_no_cgroup(tmp_path: Path, folder: int) -> None:
    assert not cgroup2.is_cgroup2(folder)
    with pytest.raises(UnsupportedError, match="is not on a cgroup2 file system"):
        cgroup2.open_root(str(tmp_path))


def test_a_file_that_is_not_there_reads_as_none(tmp_path: Path, folder: int) -> None:
    assert cgroup2.read(folder, "memory.max") is None
    (tmp_path / "memory.max").write_text("max\n")
    assert cgroup2.read(folder, "memory.max") == "max"
    with pytest.raises(FileNotFoundError):
        cgroup2.write(folder, "memory.high", "1")


def test_a_value_is_written_as_it_is(tmp_path: Path, folder: int) -> None:
    (tmp_path / "cpu.max").write_text("")
    cgroup2.write(folder, "cpu.max", "1000 100000")
    assert (tmp_path / "cpu.max").read_text() == "1000 100000"


def test_flat_keyed_files_become_numbers() -> None:
    assert cgroup2.pairs("low 0\nmax 17\nodd word\n\n") == {"low": 0, "max": 17}
    assert cgroup2.pairs(None) == {}


def test_processes_that_we_cannot_see_are_left_out(tmp_path: Path, folder: int) -> None:
    (tmp_path / "cgroup.procs").write_text("17\n0\n42\n")
    assert cgroup2.processes(folder) == [17, 42]


def test_waiting_ends_at_once_when_it_is_so_already(tmp_path: Path, folder: int) -> None:
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 1\n")
    assert cgroup2.events(folder) == {"populated": 0, "frozen": 1}
    assert cgroup2.wait_event(folder, "populated", 0, 60)
    began = time.monotonic()
    assert not cgroup2.wait_event(folder, "populated", 1, 0.01)
    assert time.monotonic() - began >= 0.01


def test_a_removed_cgroup_is_waited_for_no_longer(folder: int) -> None:
    assert cgroup2.wait_event(folder, "populated", 0, 60)
    assert cgroup2.events(folder) == {}


def test_the_deepest_come_first(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "file").write_text("")
    seen = [os.readlink(f"/proc/self/fd/{fd}") for _, _, fd in cgroup2.below(folder)]
    assert {path.removeprefix(f"{tmp_path}/") for path in seen} == {"a", "a/b", "c"}
    assert seen.index(f"{tmp_path}/a/b") < seen.index(f"{tmp_path}/a")
    cgroup2.remove_below(folder)
    assert os.listdir(folder) == ["file"]
    cgroup2.remove(folder, "a")


def test_a_nesting_without_end_is_refused(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    with pytest.raises(UnsupportedError, match="nested too deeply"):
        list(cgroup2.below(folder, depth=2))
