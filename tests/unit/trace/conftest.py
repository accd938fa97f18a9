from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """Where a trace is to be made."""
    return str(tmp_path / "data" / "@trace")
