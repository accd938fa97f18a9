"""What is said when a world cannot even be opened to be changed."""

from __future__ import annotations

import errno

import pytest

from substrate.errors import SubstrateError
from substrate.world.changing import Changing
from substrate.world.context import Context
from substrate.world.store import World


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_args: object) -> World:
        raise OSError(number, "what the kernel says")

    monkeypatch.setattr(World, "open", fail)


def test_an_error_before_anything_is_known_of_the_world_is_told_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = Context("/nowhere", "/nowhere", "/nowhere")
    failing(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="what the kernel says"):
        Changing(context, "w", lambda _: None)
    failing(monkeypatch, errno.ENOSPC)
    with pytest.raises(SubstrateError, match="changing the world w: what the kernel says"):
        Changing(context, "w", lambda _: None)
