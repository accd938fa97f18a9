"""Fixtures of tests that mount overlays of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest) -> Iterator[OverlayHost]:
    """Mounts overlays and acts on them: as root, and in a user namespace."""
    with OverlayHost(rootless=request.param) as started:
        yield started
