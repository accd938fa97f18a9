"""Where the processes of a span begin: over a new layer, or among those of earlier spans.

While anybody can still write to the topmost layer it must not get another one above it: then the
new span joins it, and its changes are told from the layer's before and after.
"""

from __future__ import annotations

import errno
import os
import time

from substrate.errors import LayerInUseError, LayerNamesError
from substrate.isolation.steps.spanning import SpanOverlay
from substrate.record import replace
from substrate.world.joining import View
from substrate.world.moved import follow_if_free, was_told
from substrate.world.span import Span
from substrate.world.spans import OWN, SHARED, check_unknown, claim, is_over
from substrate.world.stack import (
    BASE_LAYER,
    ONE_OPTION_FILE,
    LayerStack,
    SpanLayer,
    check_span_id,
)
from substrate.world.unattended import has_unrecorded, note_joined, record_ended
from substrate.world.writers import is_at_rest, mount_namespace, nobody_writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from substrate.filesystem.layers import Stacked
    from substrate.world.ahead import LayerAhead
    from substrate.world.state import State

    T = TypeVar("T")
    # The layer, the one it comes in place of, and how a process gets to see it.
    NewLayer = tuple[SpanLayer, SpanLayer | None, View]

# A mount ends a moment after the last process that had it.
_REST_TIMEOUT_S = 2.0
# A stack of so many layers is made lower, by all but the topmost; the kernel takes 500.
MOST_LAYERS, KEPT_LAYERS = 60, 30
# OCI name -> file in /proc/PID/ns, where they differ.
_FILES = {"mount": "mnt", "network": "net"}


def enter_span(
    state: State,
    owner: str,
    names: tuple[str, str],
    start: Callable[[View], T],
    ahead: LayerAhead | None = None,
) -> tuple[T, Span]:
    """Begin a span by `start`, which brings its first process into the world; return its result.

    `state.layer` is there; `owner` is the world's state directory, `names` are the ids of span and
    session, `ahead` may have made its layer already. `start` may be called twice. Raises
    `WorldStateError` when there is a span of that id, and what `start` raises.
    """
    check_span_id(names[0])
    assert state.layer is not None  # noqa: S101 -- see placing.py
    if ahead is not None:
        ahead.settle()
    with LayerStack(state.layer, state.data) as stack:
        if state.layer.copied:
            check_unknown(state.data, names[0], stack.layers())
            # What it changes is told from the copy before and after.
            return _joining(state, BASE_LAYER, -1, names, start)
        layers = lowered(state, owner, stack)
        check_unknown(state.data, names[0], layers)
        deadline = time.monotonic() + _REST_TIMEOUT_S
        while layers or is_at_rest(state, owner):
            try:
                return _over_new_layer(state, owner, stack, layers, names, start, ahead)
            except LayerNamesError:
                if _names_layers_in_one(state):
                    raise
                # An older kernel. Kept, or the first attempt of every span would fail.
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                os.close(os.open(f"{state.data}/{ONE_OPTION_FILE}", flags, 0o600))
            except LayerInUseError:
                joined = mount_namespace(state, owner, layers[-1])
                if joined >= 0:
                    return _joining(state, layers[-1], joined, names, start)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)
        return _joining(state, BASE_LAYER, -1, names, start)


def lowered(state: State, owner: str, stack: LayerStack) -> list[SpanLayer]:
    """Return the layers of a locked stack as a new one may be put over them: not too many."""
    layers = stack.layers()
    if was_told(state.data) and nobody_writes(state, owner):
        follow_if_free(state, stack)
    if len(layers) >= MOST_LAYERS and nobody_writes(state, owner):
        record_ended(state, owner, layers, rests=True)
        stack.squash(layers[: len(layers) - KEPT_LAYERS])
        layers = stack.layers()
    return layers


def _over_new_layer(
    state: State,
    owner: str,
    stack: LayerStack,
    layers: list[SpanLayer],
    names: tuple[str, str],
    start: Callable[[View], T],
    ahead: LayerAhead | None,
) -> tuple[T, Span]:
    made = None if ahead is None else ahead.take(state, stack, layers, names[0])
    new, idle_top, view = made or _made_now(state, stack, layers, names[0])
    try:
        result = start(view)
    except BaseException:
        stack.drop(new)
        raise
    finally:
        for fd in view.inputs.values():
            os.close(fd)
    if has_unrecorded(state.data, layers):
        record_ended(state, owner, layers, rests=True)
    if idle_top is not None:
        stack.spare(idle_top)
    return result, Span(*names, new, OWN, None)


def _made_now(state: State, stack: LayerStack, layers: list[SpanLayer], span_id: str) -> NewLayer:
    idle_top = idle(stack, layers)
    new = stack.push(span_id, layers)
    try:
        overlay = overlay_over(state, stack, layers, idle_top, new.name)
        inputs = open_namespaces(state)
    except BaseException:
        stack.drop(new)
        raise

    def confirm() -> None:
        if idle(stack, layers) is None:
            message = f"{layers[-1].span_id} has just changed something, in a process it has left"
            raise LayerInUseError(message, f"substrate-runtime ps {state.world_id}", errno.EBUSY)

    view = View(overlay, joins_mounts=False, inputs=inputs, is_own=True)
    return new, idle_top, view if idle_top is None else replace(view, confirm=confirm)


def idle(stack: LayerStack, layers: list[SpanLayer]) -> SpanLayer | None:
    """Return the topmost of these layers when its span is over and has changed nothing.

    Who is left of it may still change something, until the layer is found at rest.
    """
    if not layers or not is_over(stack.data, layers[-1].span_id):
        return None
    is_empty = stack.is_empty(layers[-1], layers[-2] if len(layers) > 1 else BASE_LAYER)
    return layers[-1] if is_empty else None


def overlay_over(
    state: State,
    stack: LayerStack,
    layers: list[SpanLayer],
    idle_top: SpanLayer | None,
    directory: str,
) -> SpanOverlay:
    """Return the overlay of a layer in a directory over these layers, all there are but `idle`."""
    below = layers if idle_top is None else layers[:-1]
    before = layers[-1].name if layers else ""
    return _overlay(state, stack.stacked(directory, below), before)


def open_namespaces(state: State) -> dict[str, int]:
    """Open the world's namespaces for a plan's inputs; all but the cgroup's, see `Entrance`."""
    inputs: dict[str, int] = {}
    try:
        for name in state.namespaces:
            if name != "cgroup":
                path = f"/proc/{state.pid}/ns/{_FILES.get(name, name)}"
                is_userns = name == "user" and not _is_rootless(state)
                key = "userns" if is_userns else f"namespace:{name}"
                inputs[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except BaseException:
        for fd in inputs.values():
            os.close(fd)
        raise
    return inputs


def _is_rootless(state: State) -> bool:
    return state.layer is not None and state.layer.userxattr


def _overlay(state: State, stack: Stacked, before: str) -> SpanOverlay:
    layer = state.layer
    assert layer is not None  # noqa: S101 -- see placing.py
    mapped = layer.owner >= 0
    return SpanOverlay(
        project=layer.project,
        at=layer.at,
        data=state.data,
        stack=stack,
        before=before,
        rootful=not layer.userxattr,
        own_userns="user" in state.namespaces,
        owner=layer.owner if mapped else None,
        group=layer.group if mapped else None,
        protected=state.protected,
        in_one_option=_names_layers_in_one(state),
    )


def _names_layers_in_one(state: State) -> bool:
    return os.path.lexists(f"{state.data}/{ONE_OPTION_FILE}")


def _joining(
    state: State, top: SpanLayer, namespace_fd: int, names: tuple[str, str],
    start: Callable[[View], T],
) -> tuple[T, Span]:  # fmt: skip
    from substrate.filesystem.between import Look
    from substrate.world.changes import layer_changes

    inputs = {} if namespace_fd < 0 else {"namespace:mount": namespace_fd}
    try:
        with layer_changes(state, top) as changes:
            before = Look(changes)
        result = start(View(None, joins_mounts=namespace_fd >= 0, inputs=inputs))
        claim(state.data, names, top.number, SHARED)
        note_joined(state.data, top)
    finally:
        if namespace_fd >= 0:
            os.close(namespace_fd)
    return result, Span(*names, top, SHARED, before)
