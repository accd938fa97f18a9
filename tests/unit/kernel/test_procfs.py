from __future__ import annotations

import io
import os
import subprocess
from typing import IO, TYPE_CHECKING

import pytest

from substrate.kernel import procfs

if TYPE_CHECKING:
    from pathlib import Path

# The fields after the name, from the state on; the start time is the 22nd of all.
_REST = " ".join(str(number) for number in range(4, 53))


def serve(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Let procfs read these files instead of the kernel's."""

    def fake_open(path: str, _mode: str) -> IO[bytes]:
        if path not in files:
            raise FileNotFoundError(path)
        return io.BytesIO(files[path])

    monkeypatch.setattr(procfs, "open", fake_open, raising=False)


@pytest.mark.parametrize(
    "name",
    [b"sh", b"a b", b") R 1 (", b"evil) S 1 2 3", b"(", b")", b"", b"new\nline", b"\xff\xfe"],
)
def test_a_program_may_have_any_name(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    serve(monkeypatch, {"/proc/7/stat": b"7 (" + name + b") S " + _REST.encode() + b"\n"})
    assert procfs.start_time(7) == 22
    assert procfs.is_alive(7, 22)
    assert not procfs.is_alive(7, 21)


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_dead_process_is_not_alive(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    serve(monkeypatch, {"/proc/7/stat": f"7 (sh) {state} {_REST}\n".encode()})
    assert procfs.start_time(7) is None
    assert not procfs.is_alive(7, 22)


def test_nobody_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, {})
    assert procfs.start_time(7) is None


def test_we_are_alive_and_our_start_does_not_change() -> None:
    started = procfs.start_time(os.getpid())
    assert started is not None
    assert started > 0
    assert procfs.is_alive(os.getpid(), started)


def test_a_pidfd_is_of_the_process_that_started_then() -> None:
    started = procfs.start_time(os.getpid())
    assert started is not None
    pidfd = procfs.open_pidfd(os.getpid(), started)
    assert pidfd is not None
    assert not os.get_inheritable(pidfd)
    os.close(pidfd)


def test_a_pid_used_again_is_somebody_else() -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert procfs.open_pidfd(os.getpid(), 1) is None
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_a_pid_that_cannot_be_is_nobody(pid: int) -> None:
    assert procfs.open_pidfd(pid, 1) is None


def test_a_zombie_has_no_pidfd() -> None:
    child = subprocess.Popen(["true"])
    started: int | None = 0
    while started is not None:
        started = procfs.start_time(child.pid)
    assert procfs.open_pidfd(child.pid, 1) is None
    child.wait()


def test_id_maps_are_written_as_the_kernel_reads_them() -> None:
    assert procfs.map_lines([(0, 100000, 65536), (65536, 5, 1)]) == "0 100000 65536\n65536 5 1\n"
    assert procfs.map_lines([]) == ""


def test_the_inode_of_a_namespace_is_in_its_name() -> None:
    inode = procfs.namespace_inode("self", "mnt")
    assert os.readlink("/proc/self/ns/mnt") == f"mnt:[{inode}]"


@pytest.mark.parametrize(("pid", "kind"), [(2**22 + 1, "mnt"), ("self", "nothing")])
def test_no_process_has_no_namespace(pid: int | str, kind: str) -> None:
    assert procfs.namespace_inode(pid, kind) is None


def test_the_processes_of_our_namespace_include_us() -> None:
    inode = procfs.namespace_inode("self", "pid")
    assert inode is not None
    assert os.getpid() in procfs.processes_in("pid", inode)
    assert procfs.processes_in("pid", 1) == []


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (b"/", "/"),
        (rb"/a\040b", "/a b"),
        (rb"/a\011b", "/a\tb"),
        (rb"/a\012b", "/a\nb"),
        (rb"/a\134b", "/a\\b"),
        # A directory called `\040`, in four characters: the backslash itself was escaped.
        (rb"/a\134040b", "/a\\040b"),
        (rb"/a\134134040b", "/a\\134040b"),
        (b"/caf\xe9", "/caf\udce9"),
    ],
)
def test_a_mount_point_is_read_back_as_it_is_named(
    tmp_path: Path, written: bytes, path: str
) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_bytes(
        b"36 35 98:0 / " + written + b" rw,noatime master:1 - ext4 /dev/root rw\n"
    )
    (line,) = procfs.mount_lines(str(mountinfo))
    assert line == procfs.MountLine(path, "/", ("rw", "noatime"), "ext4")


def test_the_mount_points_of_now_are_directories_or_files() -> None:
    points = [line.point for line in procfs.mount_lines()]
    assert "/" in points
    assert all(point.startswith("/") for point in points)


def test_a_process_file_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    def fake_write(_fd: int, data: bytes) -> int:
        writes.append(data)
        return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fake_write)
        procfs.write_process_file(os.getpid(), "comm", "renamed")
    assert writes == [b"renamed"]


def test_a_process_file_of_nobody_cannot_be_written() -> None:
    with pytest.raises(FileNotFoundError):
        procfs.write_process_file(2**22 + 1, "comm", "x")


def test_a_process_that_has_got_the_pid_of_one_that_was_found_is_none_of_those() -> None:
    ours, other = (subprocess.Popen(["/bin/sleep", "60"]) for _ in range(2))
    try:
        # It had the other's pid when it was looked for, and has ended.
        answers = iter([{ours.pid, other.pid}, {ours.pid}])
        found = procfs.identify(lambda: next(answers))
        assert found.keys() == {ours.pid}
        pidfd = procfs.open_pidfd(ours.pid, found[ours.pid])
        assert pidfd is not None
        os.close(pidfd)
        # Nor is one that has got it only after it was looked for.
        assert procfs.open_pidfd(ours.pid, found[ours.pid] - 1) is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
