"""A limit of space is refused with its reason where no project quota can keep it."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from substrate.errors import SubstrateError
from substrate.filesystem import space
from substrate.filesystem.removal import remove_layers
from substrate.kernel import quota

if TYPE_CHECKING:
    from pathlib import Path


class Kernel:
    """Quotas as the kernel keeps them: the limit of each project, and who is in which."""

    def __init__(self) -> None:
        self.limits: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.projects: dict[int, int] = {}

    def set_limit(self, _fd: int, project: int, limit_bytes: int) -> None:
        self.limits[project] = limit_bytes
        if not limit_bytes:
            del self.limits[project]

    def set_project(self, fd: int, project: int) -> None:
        self.projects[os.fstat(fd).st_ino] = project

    def project_of(self, fd: int) -> int:
        return self.projects.get(os.fstat(fd).st_ino, 0)

    def used_and_limit(self, _fd: int, project: int) -> tuple[int, int]:
        return self.used.get(project, 0), self.limits.get(project, 0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    for name in ("set_limit", "set_project", "project_of", "used_and_limit"):
        monkeypatch.setattr(quota, name, getattr(made, name))
    return made


def test_limit_goes_with_its_directory(kernel: Kernel, tmp_path: Path) -> None:
    data = tmp_path / "w"
    data.mkdir()
    assert space.used_space(str(data)) is None
    space.limit_space(str(data), 5000)
    assert space.used_space(str(data)) == (0, 5000)
    remove_layers(str(data))
    assert kernel.limits == {}
    assert not data.exists()


def test_number_that_is_taken_is_not_shared(kernel: Kernel, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    space.limit_space(str(one), 1000)
    (taken,) = kernel.limits
    kernel.used[taken] = 10
    # The same path again, while what was there before still takes space.
    os.rename(one, tmp_path / "elsewhere")
    one.mkdir()
    space.limit_space(str(one), 2000)
    assert len(kernel.limits) == 2
    space.limit_space(str(two), 3000)
    assert sorted(kernel.limits.values()) == [1000, 2000, 3000]


def test_projects_of_an_administrator_are_not_ours(kernel: Kernel, tmp_path: Path) -> None:
    data = tmp_path / "w"
    data.mkdir()
    kernel.projects[data.stat().st_ino] = 42
    kernel.limits[42] = 1000
    assert space.used_space(str(data)) is None
    remove_layers(str(data))
    assert kernel.limits == {42: 1000}


def test_failure_of_the_kernel_names_the_directory(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_words: int) -> None:
        raise OSError(1, os.strerror(1))

    monkeypatch.setattr(quota, "set_project", refuse)
    with pytest.raises(SubstrateError, match=f"cannot limit the space of {tmp_path}: Operation"):
        space.limit_space(str(tmp_path), 1000)


@pytest.mark.parametrize(
    ("used", "limit", "full"),
    [(0, 1000, False), (899, 1000, False), (950, 1000, True), (0, 0, False),
     (10**9 - 70_000, 10**9, False), (10**9 - 60_000, 10**9, True)],
)  # fmt: skip
def test_little_left_counts_as_used_up(used: int, limit: int, full: bool) -> None:
    assert space.is_used_up(used, limit) is full


def test_reason_is_found_for_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    # Whatever this machine can do, it answers, and the same for both.
    assert space.why_unlimited(str(tmp_path / "a/b")) == space.why_unlimited(str(tmp_path))


@pytest.mark.parametrize(
    ("result", "flags", "says"),
    [(0, 0x20, ""), (0, 0x10, "prjquota"), (-1, 0, "only root"), (-38, 0, "quotactl_fd"),
     (-3, 0, "prjquota")],
)  # fmt: skip
def test_enforced_quotas_are_told_from_counted_ones(
    monkeypatch: pytest.MonkeyPatch, result: int, flags: int, says: str
) -> None:
    def answer(*_words: object) -> tuple[int, bytes]:
        return result, struct.pack("=bxH252x", 1, flags)

    monkeypatch.setattr(quota, "_quotactl", answer)
    reason = quota.is_enforced(0)
    assert says in reason
    assert bool(reason) is bool(says)
