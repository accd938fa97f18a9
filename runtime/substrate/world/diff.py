"""diff: what a world changed in its project, read from its layer; the world may be running."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError, UnsupportedError
from substrate.filesystem.diff import diff_layer
from substrate.world.listing import read_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from substrate.world.context import Context


def diff(context: Context, world_id: str) -> FsDiff:
    """Return the changes of a world. Raises `UnsupportedError` when it keeps none."""
    layer = read_state(context, world_id).layer
    if layer is None:
        message = f"the world {world_id} has no layer: it has no project, or writes to it directly"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    if not os.path.isdir(layer.project):
        message = f"the project {layer.project} is gone"
        raise SubstrateError(message, f"substrate-runtime delete {world_id}")
    prefix = "user.overlay." if layer.userxattr else "trusted.overlay."
    return diff_layer(os.path.join(layer.directory, "upper"), layer.project, prefix)
