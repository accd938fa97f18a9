"""The layer that covers what a bundle denies, made with the world; loaded for such bundles only."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError
from substrate.filesystem.cover import make_cover
from substrate.filesystem.removal import remove_layers
from substrate.world.stack import COVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.world.state import Layer


def cover(data: str, layer: Layer, masked: Iterable[str] | None) -> None:
    """Cover the masked paths of the world that are in its project, and no others any more.

    None: there is nothing to cover. Where it cannot be done exactly there is no cover, and spans
    of the world are refused.
    """
    directory = os.path.join(data, COVER)
    if os.path.lexists(directory):
        remove_layers(directory)
    if masked is None:
        return
    inside = layer.at.rstrip("/") + "/"
    paths = [path.removeprefix(inside).rstrip("/") for path in masked if path.startswith(inside)]
    if any(_leads_elsewhere(layer.project, path) for path in paths):
        return
    try:
        make_cover(directory, layer.project, paths, layer.xattr_prefix)
    except SubstrateError:
        # A directory of another user above a path: its owner could not be shown.
        remove_layers(directory)


def _leads_elsewhere(project: str, path: str) -> bool:
    """Whether a path goes through a link, or is none that could be covered."""
    names = path.split("/")
    if any(name in {"", ".", ".."} for name in names):
        return True
    above = (os.path.join(project, *names[:length]) for length in range(1, len(names)))
    return any(map(os.path.islink, above))
