"""What an accept puts away of layers comes back as it was, at whatever step either is repeated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import RefusedError
from substrate.filesystem.archive import Archive, make_fresh
from substrate.filesystem.baseline import read_baseline

if TYPE_CHECKING:
    from pathlib import Path


class Place:
    """A project, the layers over it and a directory for what is put away of them."""

    def __init__(self, path: Path) -> None:
        self.project, self.away = path / "project", path / "undo/1"
        self.own, self.layers = path / "data/layer", path / "data/layers"
        for made in (self.project, self.away, path / "data"):
            made.mkdir(parents=True)
        self.project.chmod(0o750)
        make_fresh(str(self.own), str(self.project), userxattr=True)
        self.archive = Archive(str(self.away), str(self.layers), str(self.own))

    def write(self, name: str) -> None:
        path = self.layers.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, "utf-8")

    def put_away(self, **options: Any) -> None:
        self.archive.put_away(str(self.project), userxattr=True, **options)

    def names(self) -> list[str]:
        """Every file of the layers, but for what is kept of the project."""
        top = self.layers.parent
        paths = [path.relative_to(top) for path in top.rglob("*") if path.is_file()]
        return sorted(str(path) for path in paths if path.name != "baseline.json")

    def root_mode(self) -> int:
        return (self.own / "upper").stat().st_mode & 0o7777


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_own_layer_is_put_away_whole_and_comes_back(place: Place) -> None:
    place.write("layer/upper/file")
    (place.own / "upper").chmod(0o700)
    before = read_baseline(str(place.own))
    place.project.chmod(0o700)
    for _ in range(2):
        place.put_away(mounted=False)
        assert place.archive.holds_layers
        assert place.names() == []
        assert place.root_mode() == 0o700
    fresh = read_baseline(str(place.own))
    assert before is not None
    assert fresh is not None
    assert fresh.mode == 0o700
    for _ in range(2):
        place.archive.bring_back(mounted=False)
        assert place.names() == ["layer/upper/file"]
        assert read_baseline(str(place.own)) == before
    assert not place.archive.holds_layers


def test_layers_of_spans_come_back_beside_those_that_were_made_since(place: Place) -> None:
    place.write("layers/1.s1/upper/one")
    place.write("layers/2.s2/upper/two")
    place.write("layers/.spare/upper/none")
    upper, before = place.own / "upper", read_baseline(str(place.own))
    inode = upper.stat().st_ino
    place.project.chmod(0o700)
    for _ in range(2):
        place.put_away(mounted=True)
        assert place.names() == []
        # It is mounted, so it stays; what it is the root of has changed.
        assert (upper.stat().st_ino, place.root_mode()) == (inode, 0o700)
    assert read_baseline(str(place.own)) != before
    place.write("layers/3.s3/upper/three")
    for _ in range(2):
        place.archive.bring_back(mounted=True)
        assert place.names() == [
            "layers/1.s1/upper/one", "layers/2.s2/upper/two", "layers/3.s3/upper/three",
        ]  # fmt: skip
        assert (upper.stat().st_ino, place.root_mode()) == (inode, 0o750)
        assert read_baseline(str(place.own)) == before


def test_what_idled_and_has_ended_meanwhile_gets_its_root_back_too(place: Place) -> None:
    before = read_baseline(str(place.own))
    place.put_away(mounted=True)
    place.project.chmod(0o700)
    place.archive.bring_back(mounted=False)
    assert place.root_mode() == 0o750
    assert read_baseline(str(place.own)) == before
    assert sorted(os.listdir(place.own)) == ["baseline.json", "upper", "work"]


def test_nothing_newer_is_covered_by_what_comes_back(place: Place) -> None:
    place.write("layer/upper/old")
    place.put_away(mounted=False)
    place.archive.check_room(mounted=False)
    place.write("layer/upper/new")
    with pytest.raises(RefusedError, match="newer ones of no span"):
        place.archive.check_room(mounted=False)
    assert place.names() == ["layer/upper/new"]


def test_nothing_comes_back_where_nothing_was_put_away(place: Place) -> None:
    place.write("layer/upper/file")
    place.archive.bring_back(mounted=False)
    assert place.names() == ["layer/upper/file"]
