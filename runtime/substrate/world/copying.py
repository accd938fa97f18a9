"""The copy of its project that a world gets where no overlay can be had."""

from __future__ import annotations

from substrate.errors import UnsupportedError
from substrate.filesystem.baseline import write_baseline
from substrate.filesystem.copies import settling
from substrate.filesystem.copies.changes import CopiedLayerChanges
from substrate.filesystem.copies.copier import Manner
from substrate.filesystem.copies.layer import CopiedChanges
from substrate.filesystem.copies.making import make_copy
from substrate.filesystem.copies.owners import Shift
from substrate.isolation.denied import matcher
from substrate.kernel.procfs import filesystem_type
from substrate.world.stack import LayerStack
from substrate.world.writers import is_at_rest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from substrate.bundle.model import Config
    from substrate.filesystem.baseline import Baseline
    from substrate.filesystem.copies.discard import Place
    from substrate.isolation.spec import WorldSpec
    from substrate.world.state import Layer, State

    Tell = Callable[[int, int], None]


def make(layer: Layer, spec: WorldSpec, tell: Tell | None) -> None:
    """Make the copy of a new world in the empty directory of its layer; raises SubstrateError."""
    identity, project = spec.identity, spec.project
    shift = Shift()
    if identity is not None and identity.idmapped:
        uids, gids = identity.uid_map[0], identity.gid_map[0]
        shift = Shift(uids.host_id, gids.host_id, uids.size)
    most = None if project is None else project.limit_bytes
    # Before anything is read: what the host changes from now on, nobody has seen.
    write_baseline(layer.directory, layer.project)
    try:
        make_copy(layer.project, layer.directory, Manner(shift, _denied(spec.config), most, tell))
    finally:
        if tell is not None:
            tell(0, 0)


def changes_of(layer: Layer) -> CopiedChanges:
    """Return what a world changed in its copy, to be entered."""
    return CopiedChanges(layer.directory, layer.project)


def layer_changes_of(layer: Layer, baseline: Baseline) -> CopiedLayerChanges:
    """Return them as accept and discard need them, to be entered."""
    return CopiedLayerChanges(changes_of(layer), baseline, layer.directory)


def settle(layer: Layer, how: dict[str, Any]) -> None:
    """Give a copy's table what an accept, or its undo, has planned for it; twice is once."""
    settling.settle(layer.directory, how)


def refresh(layer: Layer, config: Config, places: list[Place] | None = None) -> None:
    """Make a copy, or some places of it, what the project is now; nobody may be using it."""
    settling.refresh(layer.project, layer.directory, _denied(config), places)


def bring_up(state: State, config: Config, owner: str) -> None:
    """Show a world what the host has changed since, unless processes are using the copy.

    Under an overlay that shows through at any time. `owner` is the world's state directory.
    """
    layer = state.layer
    assert layer is not None  # noqa: S101 -- a world with a copy
    with LayerStack(layer, state.data):
        if is_at_rest(state, owner):
            settling.update(layer.project, layer.directory, _denied(config))


def refuse_layers(world_id: str) -> None:
    """Raise `UnsupportedError`: what was asked needs layers, and the world has a copy."""
    message = f"the world {world_id} has a copy of its project and no layers"
    raise UnsupportedError(message, "accept, discard and undo take changes as a whole or by path")


def explain(data: str, project: str, said: str) -> str:
    """Return why a world has a copy: what the kernel said, and on what."""
    places = f"the data is on {filesystem_type(data)}, the project on {filesystem_type(project)}"
    return f"the world has a copy of its project, because no overlay can be had: {said} ({places})"


def _denied(config: Config) -> Callable[[str], bool]:
    extension = config.substrate
    return matcher(extension.project.deny if extension is not None and extension.project else ())
