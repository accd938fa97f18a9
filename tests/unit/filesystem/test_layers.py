"""Layers: what they are made of, and where a project may not be."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from substrate.errors import RefusedError
from substrate.filesystem.layers import check_separate, make_layer, nested_mounts, overlay_options

if TYPE_CHECKING:
    from pathlib import Path


def test_the_upper_directory_looks_as_the_project_does(tmp_path: Path) -> None:
    project, directory = tmp_path / "project", tmp_path / "layer"
    project.mkdir()
    directory.mkdir()
    project.chmod(0o2751)
    os.setxattr(project, "user.note", b"1")
    os.setxattr(project, "user.overlay.opaque", b"y")
    layer = make_layer(str(directory), str(project), "/project", userxattr=False)
    status = os.stat(layer.upper)
    assert stat.S_IMODE(status.st_mode) == 0o2751
    assert (status.st_uid, status.st_gid) == (project.stat().st_uid, project.stat().st_gid)
    assert os.listxattr(layer.upper) == ["user.note"]
    assert os.listdir(layer.work) == []
    assert (layer.lower, layer.at) == (str(project), "/project")


def test_options_follow_the_kind_of_mount(tmp_path: Path) -> None:
    project, directory = tmp_path / "project", tmp_path / "layer"
    project.mkdir()
    directory.mkdir()
    layer = make_layer(str(directory), str(project), "/project", userxattr=True)
    options = overlay_options(layer)
    assert options[:3] == (
        ("lowerdir", layer.lower),
        ("upperdir", layer.upper),
        ("workdir", layer.work),
    )
    assert options[3:] == (("userxattr", None),)


def test_a_root_inside_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project" / "data").mkdir(parents=True)
    with pytest.raises(RefusedError, match="is inside it"):
        check_separate(str(tmp_path / "project"), str(tmp_path / "project" / "data"))


def test_a_root_that_is_not_there_yet_is_refused_by_its_parents(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(RefusedError, match="is inside it"):
        check_separate(str(project), str(project / "state" / "worlds"))
    check_separate(str(project), str(tmp_path / "state" / "worlds"))


def test_a_project_inside_a_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "project").mkdir(parents=True)
    with pytest.raises(RefusedError, match="it is inside"):
        check_separate(str(tmp_path / "data" / "project"), str(tmp_path / "data"))


def test_symbolic_links_hide_nothing(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(project / "data")
    (tmp_path / "alias").symlink_to(project)
    with pytest.raises(RefusedError):
        check_separate(str(project), str(tmp_path / "elsewhere"))
    with pytest.raises(RefusedError):
        check_separate(str(tmp_path / "alias"), str(project / "data"))


def test_directories_side_by_side_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project-data").mkdir()
    check_separate(str(tmp_path / "project"), str(tmp_path / "project-data"))


def test_mounts_below_a_directory_are_found_and_itself_is_not_one() -> None:
    assert "/proc" in nested_mounts("/")
    assert "/proc" not in nested_mounts("/proc")
