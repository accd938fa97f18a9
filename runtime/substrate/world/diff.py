"""diff: what a world changed in its project, read from its layer; the world may be running."""

from __future__ import annotations

import os

from substrate.errors import SubstrateError, UnsupportedError, UsageError
from substrate.filesystem.diff import diff_layer
from substrate.filesystem.entries import make_diff
from substrate.world.listing import read_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from substrate.world.context import Context


def diff(context: Context, world_id: str, paths: tuple[str, ...] = ()) -> FsDiff:
    """Return the changes of a world, of these paths and what is in them when there are any.

    A path is relative to the project, or absolute in the world. Raises `UnsupportedError` when
    the world keeps no changes.
    """
    layer = read_state(context, world_id).layer
    if layer is None:
        message = f"the world {world_id} has no layer: it has no project, or writes to it directly"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    if not os.path.isdir(layer.project):
        message = f"the project {layer.project} is gone"
        raise SubstrateError(message, f"substrate-runtime delete {world_id}")
    prefix = "user.overlay." if layer.userxattr else "trusted.overlay."
    found = diff_layer(os.path.join(layer.directory, "upper"), layer.project, prefix)
    return _only(found, [_relative(path, layer.at) for path in paths]) if paths else found


def _relative(path: str, at: str) -> str:
    relative = os.path.relpath(path, at) if os.path.isabs(path) else os.path.normpath(path)
    if relative == ".." or relative.startswith("../"):
        message = f"{path} is not in the project, which is {at} in the world"
        raise UsageError(message, "name paths relative to the project")
    return "" if relative == "." else relative


def _only(found: FsDiff, wanted: list[str]) -> FsDiff:
    """Return the changes at and below some paths; either end of a rename counts."""

    def is_wanted(path: str) -> bool:
        return any(not want or path == want or path.startswith(f"{want}/") for want in wanted)

    return make_diff(
        [entry for entry in found.entries if is_wanted(entry.path) or is_wanted(entry.origin)]
    )
