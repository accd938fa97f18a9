"""Which bundle a word names, and what is said when it names none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate import resources
from substrate.cli.options import RUNTIME
from substrate.cli.parse import parse
from substrate.cli.requests import bundle_directory
from substrate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def bundle(*words: str) -> str:
    return bundle_directory(parse(RUNTIME, ["run", *words, "w"]))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_name_the_bundle_is_here(here: Path) -> None:
    assert bundle() == str(here)


def test_a_name_is_a_shipped_bundle_unless_a_directory_here_has_one(here: Path) -> None:
    assert bundle("-b", "busybox") == resources.bundle_path("busybox")
    (here / "busybox").mkdir()
    (here / "busybox/config.json").touch()
    assert bundle("-b", "busybox") == str(here / "busybox")


def test_a_name_of_nothing_is_told_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="no shipped bundle of that name") as caught:
        bundle("-b", "bussybox")
    assert all(name in (caught.value.hint or "") for name in resources.bundle_names())


def test_a_file_is_told_from_its_bundle(here: Path) -> None:
    (here / "b").mkdir()
    (here / "b/config.json").touch()
    with pytest.raises(UsageError, match="a bundle is the directory") as caught:
        bundle("-b", "b/config.json")
    assert caught.value.hint == "--bundle b"


def test_a_path_is_taken_as_it_is(here: Path) -> None:
    assert bundle("-b", "some/where") == os.path.join(here, "some/where")
