"""Layers that are named in one mount option fit into what fsconfig(2) takes."""

from __future__ import annotations

import pytest

from substrate.errors import UnsupportedError
from substrate.filesystem.layers import Stacked, lower_layers, short_names, stack_options

PAGE_OF_FSCONFIG = 255


def test_names_are_different_and_short_enough_for_any_stack_that_is_not_joined_yet() -> None:
    for count in (1, 62, 63, 100):
        names = short_names(count)
        assert len(set(names)) == count
        assert len(":".join(names)) <= PAGE_OF_FSCONFIG
        assert all(set(name).isdisjoint(":,\\") for name in names)


def test_more_layers_than_can_be_named_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="more than this kernel can name"):
        short_names(120)


def test_one_option_has_the_layers_in_the_order_of_the_many() -> None:
    stack = Stacked("layers/3.c", ("layers/2.b", "layers/1.a"))
    lowers = lower_layers(stack, "lower", "data")
    many = stack_options(stack, "lower", "data", userxattr=False)
    assert tuple(value for key, value in many if key == "lowerdir+") == lowers
    one = stack_options(stack, "lower", "data", userxattr=False, names=short_names(len(lowers)))
    assert one[0] == ("lowerdir", "0:1:2")
    assert one[1:] == many[len(lowers) :]
