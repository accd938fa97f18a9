"""Removing layers: whatever a payload left there goes, and nothing else does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.errors import RefusedError
from substrate.filesystem import removal
from substrate.filesystem.removal import remove_layers

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_deep(directory: Path, depth: int) -> None:
    """Make a chain of directories whose path is longer than any call accepts."""
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=fd)
        inner_fd = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner_fd))
        os.close(fd)
        fd = inner_fd
    os.close(fd)


@pytest.fixture
def deep_place() -> Iterator[Path]:
    """A directory in memory: ext4 takes seconds to make thousands of nested directories."""
    directory = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    yield Path(directory)
    remove_layers(directory)


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_layers(str(tmp_path / "none"))
    remove_layers(str(tmp_path / "none" / "inner"))


def test_a_tree_deeper_than_any_path_is_removed(deep_place: Path) -> None:
    top = deep_place / "layer"
    top.mkdir()
    make_deep(top, 2500)
    open_before = len(os.listdir("/proc/self/fd"))
    remove_layers(str(top))
    assert not top.exists()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_directories_without_permissions_are_removed(tmp_path: Path) -> None:
    top = tmp_path / "layer"
    (top / "work" / "work" / "inner").mkdir(parents=True)
    (top / "work" / "work" / "inner" / "file").touch()
    (top / "work" / "work" / "inner").chmod(0o500)
    (top / "work" / "work").chmod(0)
    remove_layers(str(top))
    assert not top.exists()


def test_odd_names_are_removed(tmp_path: Path) -> None:
    top = tmp_path / "layer"
    top.mkdir()
    for name in ("\udcff\udcfe", "new\nline", "x" * 255, ".substrate-remove-1"):
        (top / name).mkdir()
        (top / name / name).touch()
    remove_layers(str(top))
    assert not top.exists()


def test_symbolic_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    top = tmp_path / "layer"
    top.mkdir()
    (top / "to-folder").symlink_to(outside)
    (top / "to-file").symlink_to(outside / "kept")
    (top / "up").symlink_to("..")
    remove_layers(str(top))
    assert not top.exists()
    assert (outside / "kept").exists()


def test_a_symbolic_link_in_place_of_the_layer_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "layer").symlink_to(outside)
    remove_layers(str(tmp_path / "layer"))
    assert not (tmp_path / "layer").is_symlink()
    assert (outside / "kept").exists()


def test_a_directory_exchanged_for_a_link_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    top = tmp_path / "layer"
    (top / "inner").mkdir(parents=True)
    really_open = os.open

    def exchanging_open(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "inner" and not (top / "inner").is_symlink():
            (top / "inner").rmdir()
            (top / "inner").symlink_to(outside)
        return really_open(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr("os.open", exchanging_open)
    with pytest.raises(OSError, match="Directory not empty"):
        remove_layers(str(top))
    assert (outside / "kept").exists()
    monkeypatch.undo()
    remove_layers(str(top))
    assert not top.exists()


class Killed(Exception):  # noqa: N818 -- stands for a kill, and is no error of ours
    """The removal ends here."""


def kill_after(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let that many changes of the file system happen, then none."""
    left = allowed

    def limit(name: str) -> None:
        really = getattr(os, name)

        def call(*arguments: object, **options: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            really(*arguments, **options)

        monkeypatch.setattr(f"os.{name}", call)

    for name in ("unlink", "rmdir", "rename"):
        limit(name)


def test_a_second_call_finishes_an_interrupted_one(deep_place: Path) -> None:
    top = deep_place / "layer"
    allowed, finished = 0, False
    while not finished:
        top.mkdir()
        make_deep(top, 80)
        with pytest.MonkeyPatch.context() as patch:
            kill_after(allowed, patch)
            try:
                remove_layers(str(top))
                finished = True
            except Killed:
                allowed += 7
        remove_layers(str(top))
        assert not top.exists()
    # Positive control: it was interrupted often, also while directories were being moved up.
    assert allowed > 150


def test_a_mount_inside_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "layer"
    (top / "inner").mkdir(parents=True)
    (top / "file").touch()
    monkeypatch.setattr(removal, "nested_mounts", lambda _: (str(top / "inner"),))
    with pytest.raises(RefusedError, match="inner") as caught:
        remove_layers(str(top))
    assert caught.value.hint == f"umount {top / 'inner'}"
    assert (top / "file").exists()
