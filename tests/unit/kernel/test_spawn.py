from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from substrate.errors import DependencyError, UsageError
from substrate.kernel import spawn
from substrate.kernel.spawn import kept_world_init_fd, sealed_memfd, world_init_fd
from tests.support.plans import Builder

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC, _MFD_NOEXEC_SEAL = 0x10, 0x8


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = sealed_memfd("test", b"content")
    yield fd
    os.close(fd)


def test_a_sealed_memfd_holds_its_content(memfd: int) -> None:
    assert os.pread(memfd, 100, 0) == b"content"
    assert not os.get_inheritable(memfd)


def test_all_seals_are_set(memfd: int) -> None:
    assert fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _ALL_SEALS == _ALL_SEALS


def test_nobody_can_change_a_sealed_memfd(memfd: int) -> None:
    for attempt in (
        lambda: os.pwrite(memfd, b"x", 0),
        lambda: os.ftruncate(memfd, 0),
        lambda: os.ftruncate(memfd, 100),
        lambda: fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, 0),
    ):
        with pytest.raises(PermissionError):
            attempt()
    # Nor through a new descriptor of it, as the owner of CVE-2019-5736's file could.
    again = os.open(f"/proc/self/fd/{memfd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.write(again, b"x")
    finally:
        os.close(again)
    assert os.pread(memfd, 100, 0) == b"content"


def test_world_init_is_executable_and_sealed() -> None:
    fd = world_init_fd()
    try:
        assert os.pread(fd, 4, 0) == b"\x7fELF"
        assert os.fstat(fd).st_mode & 0o111
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _ALL_SEALS == _ALL_SEALS
    finally:
        os.close(fd)


def test_one_world_init_is_kept_for_all_worlds_of_a_process() -> None:
    fd = kept_world_init_fd()
    assert kept_world_init_fd() == fd
    assert os.pread(fd, 4, 0) == b"\x7fELF"
    assert not os.get_inheritable(fd)


def test_a_kept_descriptor_that_is_another_file_by_now_is_not_executed() -> None:
    fd = kept_world_init_fd()
    with open("/dev/null", "rb") as other:
        os.dup2(other.fileno(), fd, inheritable=False)
    again = kept_world_init_fd()
    assert again != fd
    assert os.pread(again, 4, 0) == b"\x7fELF"
    os.close(fd)
    os.close(again)
    assert os.pread(kept_world_init_fd(), 4, 0) == b"\x7fELF"


def test_world_init_is_small() -> None:
    assert os.stat(spawn.native_program("world-init")).st_size < 16384


@pytest.mark.parametrize(("executable", "wanted"), [(True, _MFD_EXEC), (False, _MFD_NOEXEC_SEAL)])
def test_an_older_kernel_is_asked_without_the_newer_flags(
    monkeypatch: pytest.MonkeyPatch, executable: bool, wanted: int
) -> None:
    real, asked = os.memfd_create, list[int]()

    def older(name: str, flags: int) -> int:
        asked.append(flags)
        if flags & (_MFD_EXEC | _MFD_NOEXEC_SEAL):
            raise OSError(errno.EINVAL, "flags")
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    os.close(sealed_memfd("test", b"", executable=executable))
    plain = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    assert asked == [plain | wanted, plain]


def test_another_failure_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_name: str, _flags: int) -> int:
        raise OSError(errno.EMFILE, "full")

    monkeypatch.setattr(os, "memfd_create", full)
    with pytest.raises(OSError, match="full"):
        sealed_memfd("test", b"")


def test_a_world_init_that_was_not_built_is_a_missing_dependency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawn, "_NATIVE", "/nonexistent")
    with pytest.raises(DependencyError, match="world-init is not built") as caught:
        world_init_fd()
    assert caught.value.status == 3
    assert "ci/setup" in caught.value.hint


def test_an_unknown_executor_is_the_callers_mistake() -> None:
    plan = Builder().finish()
    with pytest.raises(UsageError, match="there is no executor 'rust'") as caught:
        spawn.spawn(plan, {"sync": 1, "out": 1}, "rust")
    assert "--executor native" in caught.value.hint


@pytest.mark.parametrize("executor", spawn.EXECUTORS)
def test_a_plan_whose_inputs_are_missing_leaves_no_descriptor(executor: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError):
        spawn.spawn(Builder().finish(), {}, executor)
    assert len(os.listdir("/proc/self/fd")) == before
