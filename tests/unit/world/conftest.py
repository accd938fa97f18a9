"""A runtime's directories in a folder of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from substrate.world.context import Context

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(str(tmp_path / "state"), str(tmp_path / "data"), str(tmp_path / "cache"))
