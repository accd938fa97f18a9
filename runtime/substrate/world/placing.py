"""Where a process that enters a world sees its project: in a layer of its own or as the world does.

Loaded by every `exec`; what a span needs besides is in `beginning.py`.
"""

from __future__ import annotations

import os

from substrate.errors import UnsupportedError
from substrate.world.accepted import highest_accepted
from substrate.world.joining import View
from substrate.world.masked import is_masked, is_partly_readonly
from substrate.world.stack import COVER, LayerStack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from substrate.bundle.model import Config
    from substrate.world.ahead import LayerAhead
    from substrate.world.span import Span
    from substrate.world.state import State

    T = TypeVar("T")


# As any process of the world: in the mount it began with.
PLAIN = View(None, joins_mounts=False, inputs={})


def place(
    state: State,
    config: Config,
    owner: str,
    names: tuple[str | None, str],
    start: Callable[[View], T],
    ahead: LayerAhead | None = None,
) -> tuple[T, Span | None]:
    """Have `start` bring a process in, with the view it shall have; return its result.

    `names` are the ids of span and session, None for a command that is no span: it shares the
    world's own mount, or, once that lies below the layers of spans (also of accepted ones, which
    may come back), gets a layer as well. `owner` is the world's state directory; `ahead` may have
    a layer that is made already. Raises what `start` and `enter_span` raise.
    """
    span_id, session = names
    if state.layer is not None and state.layer.copied:
        from substrate.world.copying import bring_up

        bring_up(state, config, owner)
    if span_id is None and state.layer is not None:
        with LayerStack(state.layer, state.data, shared=True) as stack:
            layers = stack.layers()
            below = layers[-1].number if layers else highest_accepted(state.data)
            if not below:
                return start(PLAIN), None
        from substrate.world.spans import free_id

        span_id = free_id(state.data, below + 1)
    from substrate.world.beginning import enter_span

    check_spans(state, config)
    return enter_span(state, owner, (span_id or "", session), start, ahead)


def check_spans(state: State, config: Config) -> None:
    """Raise `UnsupportedError` when the spans of a world cannot have layers."""
    layer = state.layer
    if layer is None:
        message = f"the world {state.world_id} has no layers: it has no project, or not in layers"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    if "mount" not in state.namespaces:
        message = f"the world {state.world_id} has no mount namespace of its own"
        raise UnsupportedError(message, 'add {"type": "mount"} to linux.namespaces')
    if layer.copied:
        # All its commands are in one mount.
        return
    if is_partly_readonly(config, layer.at):
        message = "paths of the project are read-only, which holds in one mount and not in many"
        raise UnsupportedError(message, "leave out --span, or the paths of linux.readonlyPaths")
    if is_masked(config, layer.at) and not os.path.isdir(f"{state.data}/{COVER}"):
        # A mask is on a path; the file could be renamed in one span and be read in the next.
        message = "paths of the project are masked, and cannot be covered for each span"
        hint = "leave out --span, or name them without links and as directories of your own"
        raise UnsupportedError(message, hint)
