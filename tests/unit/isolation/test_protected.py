"""What `project.readonly` protects, and what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from substrate.errors import UnsupportedError
from substrate.isolation.protected import MOST, protected_paths
from substrate.isolation.steps.protecting import above

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_there_is_found_and_what_is_in_it_goes_with_it(tmp_path: Path) -> None:
    for name in ("a/b/keys/one", "a/b/keys/two", "a/x.lock", "LICENSE"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    patterns = ("a/b/keys", "**/*.lock", "LICENSE", "not-there")
    found = protected_paths(str(tmp_path), patterns)
    assert found == ("LICENSE", "a/b/keys", "a/x.lock")
    assert above(found) == ["a", "a/b"]


def test_a_link_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(UnsupportedError, match="the link link"):
        protected_paths(str(tmp_path), ("link",))


def test_more_than_can_be_mounted_is_refused(tmp_path: Path) -> None:
    for number in range(MOST + 1):
        (tmp_path / f"{number}.lock").touch()
    with pytest.raises(UnsupportedError, match=f"matches {MOST + 1} paths"):
        protected_paths(str(tmp_path), ("*.lock",))
