"""Diffs of layers made by hand: what no overlay writes, but a hostile world might try."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.errors import SubstrateError
from substrate.filesystem import walk
from substrate.filesystem.diff import diff_layer
from substrate.filesystem.marks import inode_of_handle
from substrate.filesystem.pairs import Pairs
from substrate.filesystem.removal import remove_layers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from substrate.filesystem.entries import FsDiff

USER = "user.overlay."


class Layer:
    def __init__(self, directory: Path) -> None:
        self.upper, self.lower = directory / "upper", directory / "lower"
        self.upper.mkdir()
        self.lower.mkdir()

    def diff(self) -> FsDiff:
        return diff_layer(str(self.upper), str(self.lower), USER)


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Layer]:
    yield Layer(tmp_path)
    # pytest's own removal is recursive, and some trees here are deeper than it can be.
    remove_layers(str(tmp_path))


def make_deep(directory: Path, depth: int) -> None:
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep-" * 7, dir_fd=fd)
        inner_fd = os.open("deep-" * 7, os.O_RDONLY, dir_fd=fd)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=inner_fd))
        os.close(fd)
        fd = inner_fd
    os.close(fd)


def test_an_empty_layer_changes_nothing(layer: Layer) -> None:
    (layer.lower / "a").touch()
    assert layer.diff().empty


def test_a_tree_deeper_than_any_path_is_walked_with_few_descriptors(layer: Layer) -> None:
    make_deep(layer.upper, 130)
    make_deep(layer.lower, 130)
    os.mkdir(layer.upper / "new")
    make_deep(layer.upper / "new", 130)
    open_before = len(os.listdir("/proc/self/fd"))
    diff = layer.diff()
    assert len(diff.writes) == 261
    assert len(diff.touched) == 130
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_directories_of_any_size_are_compared_alike(layer: Layer) -> None:
    for count in (walk.LIST_BELOW - 1, walk.LIST_BELOW + 5):
        for tree in (layer.upper, layer.lower):
            (tree / f"of-{count}").mkdir()
            for number in range(count):
                (tree / f"of-{count}" / str(number)).write_text("same")
        (layer.upper / f"of-{count}" / "0").write_text("else")
        (layer.upper / f"of-{count}" / "new").touch()
    diff = layer.diff()
    assert diff.mods == ("of-24/0", "of-30/0")
    assert diff.writes == ("of-24/new", "of-30/new")


def test_files_that_would_block_are_only_looked_at(layer: Layer) -> None:
    os.mkfifo(layer.upper / "new")
    os.mkfifo(layer.upper / "was-file")
    (layer.lower / "was-file").write_text("text")
    os.mkfifo(layer.upper / "same")
    os.mkfifo(layer.lower / "same")
    diff = layer.diff()
    assert (diff.writes, diff.mods, diff.touched) == (("new",), ("was-file",), ("same",))


def test_a_file_exchanged_for_a_fifo_while_compared_does_not_block(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layer.upper / "a").write_text("text")
    (layer.lower / "a").write_text("text")
    really_open = os.open

    def exchanging_open(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "a":
            (layer.upper / "a").unlink(missing_ok=True)
            os.mkfifo(layer.upper / "a")
        return really_open(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr("os.open", exchanging_open)
    diff = layer.diff()
    assert diff.mods == ("a",)
    assert diff.entries[0].notes == (walk.NOT_COMPARED,)


def test_a_directory_exchanged_for_a_link_is_not_followed(
    layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").touch()
    (layer.upper / "folder").mkdir()
    (layer.upper / "z").touch()
    really_open = os.open

    def exchanging_open(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "folder" and not (layer.upper / "folder").is_symlink():
            (layer.upper / "folder").rmdir()
            (layer.upper / "folder").symlink_to(tmp_path / "secret")
        return really_open(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr("os.open", exchanging_open)
    assert layer.diff().writes == ("folder", "z")


def test_sparse_files_are_compared_without_reading_their_holes(layer: Layer) -> None:
    for tree in (layer.upper, layer.lower):
        for name in ("same", "else"):
            with (tree / name).open("wb") as stream:
                stream.truncate(1 << 42)
    with (layer.upper / "else").open("r+b") as stream:
        stream.seek(1 << 41)
        stream.write(b"x")
    diff = layer.diff()
    assert (diff.mods, diff.touched) == (("else",), ("same",))


def test_holes_and_zeros_are_the_same_content(layer: Layer) -> None:
    (layer.upper / "a").write_bytes(b"\0" * 70_000)
    with (layer.lower / "a").open("wb") as stream:
        stream.truncate(70_000)
    assert layer.diff().touched == ("a",)


def test_a_moved_directory_is_found_by_its_content(layer: Layer) -> None:
    for tree, name in ((layer.lower, "old"), (layer.upper, "new")):
        (tree / name / "inner").mkdir(parents=True)
        (tree / name / "inner" / "file").write_text("text")
        (tree / name / "__init__.py").touch()
    (layer.upper / "gone").mkdir()
    (layer.lower / "gone").mkdir()
    (layer.lower / "gone" / "x").touch()
    os.setxattr(layer.upper / "gone", USER + "opaque", b"y")
    # An opaque directory hides it too, and needs no right to make a whiteout device.
    (layer.lower / "old").rename(layer.lower / "gone" / "old")
    diff = layer.diff()
    assert diff.renames == (("gone/old", "new"),)
    assert diff.deletes == ("gone/x",)
    assert diff.writes == ()


def test_pairs_that_could_be_others_stay_apart(layer: Layer) -> None:
    (layer.lower / "d").mkdir()
    (layer.upper / "d").mkdir()
    os.setxattr(layer.upper / "d", USER + "opaque", b"y")
    for name in ("a", "b"):
        (layer.lower / "d" / name).write_text("twice")
    (layer.lower / "d" / "empty").touch()
    (layer.upper / "new").write_text("twice")
    (layer.upper / "new-empty").touch()
    diff = layer.diff()
    assert diff.renames == ()
    assert diff.deletes == ("d/a", "d/b", "d/empty")
    assert diff.writes == ("new", "new-empty")


def test_empty_files_are_whiteouts_only_where_announced(layer: Layer) -> None:
    for name in ("plain", "announced"):
        (layer.lower / name).mkdir()
        (layer.upper / name).mkdir()
        (layer.lower / name / "f").write_text("text")
        (layer.upper / name / "f").touch()
        os.setxattr(layer.upper / name / "f", USER + "whiteout", b"y")
    os.setxattr(layer.upper / "announced", USER + "opaque", b"x")
    diff = layer.diff()
    assert (diff.mods, diff.deletes) == (("plain/f",), ("announced/f",))


def test_a_redirect_means_nothing_where_the_kernel_follows_none(layer: Layer) -> None:
    (layer.lower / "secret").mkdir()
    (layer.lower / "secret" / "key").touch()
    (layer.upper / "d").mkdir()
    for target in (b"/secret", b"/../../etc", b"..", b"/"):
        os.setxattr(layer.upper / "d", USER + "redirect", target)
        assert layer.diff().writes == ("d",)


def test_a_directory_that_may_not_be_read_is_an_error_with_its_path(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layer.upper / "closed").mkdir()
    really_open = os.open

    def refusing_open(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "closed":
            raise PermissionError(13, "Permission denied", path)
        return really_open(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr("os.open", refusing_open)
    with pytest.raises(SubstrateError, match="closed: permission denied"):
        layer.diff()


def test_metadata_of_the_project_itself_is_compared(layer: Layer) -> None:
    layer.upper.chmod(0o700)
    layer.lower.chmod(0o755)
    assert layer.diff().meta == (".",)


@pytest.mark.parametrize(
    ("handle", "inode"),
    [
        ("00fb1d0001" + "00" * 16 + "40c02000" + "4039a149", 0x20C040),
        ("00fb210001" + "00" * 16 + "01000000" + "0500000001000000", 0x100000005),
        ("00fb21004d" + "00" * 16 + "0900000000000000" + "00" * 12, 9),
        ("00fb1d01f8" + "00" * 24, 0),
        ("", 0),
    ],
)
def test_inode_numbers_are_read_from_known_handles_only(handle: str, inode: int) -> None:
    assert inode_of_handle(bytes.fromhex(handle)) == inode


def test_what_vanishes_while_renames_are_looked_for_has_the_diff_begin_again(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layer.upper / "a").write_text("new")
    find, left = Pairs.find, [2]

    def interrupted(pairs: Pairs) -> None:
        if left[0]:
            left[0] -= 1
            raise FileNotFoundError(2, "exchanged while it was read", "a")
        find(pairs)

    monkeypatch.setattr(Pairs, "find", interrupted)
    assert layer.diff().writes == ("a",)
    left[0] = 99
    with pytest.raises(FileNotFoundError):
        layer.diff()
