"""The fixed host the isolation tests resolve on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.worlds import FixedHost, fixed_host

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FixedHost]:
    with fixed_host(monkeypatch) as made:
        yield made
