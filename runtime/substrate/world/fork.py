"""fork: a second world that begins with the layers of a first, and goes its own way from there.

It has what the first shows, or showed at a point of its history, and is idle: what is inherited is
files, never processes. Its layers are its own copies, so that nothing of the one can reach the
other; both lie over the same project, and accept tells what of it the other has changed.
"""

from __future__ import annotations

import os
from functools import partial

from substrate.errors import RefusedError, SubstrateError, UnsupportedError, WorldStateError
from substrate.filesystem.baseline import BASELINE_FILE
from substrate.filesystem.copying import copy_content
from substrate.filesystem.inherited import (
    Inherited,
    Stack,
    content_in_project,
    contents_below,
    write_inherited,
)
from substrate.filesystem.known import KNOWN_FILE
from substrate.filesystem.replica import Replica
from substrate.filesystem.shown import shown_below_moved, write_shown
from substrate.filesystem.since import write_since
from substrate.filesystem.space import used_space
from substrate.record import record
from substrate.world import state as states
from substrate.world.accepted import STORE
from substrate.world.changes import world_changes
from substrate.world.completing import complete
from substrate.world.create import CreateRequest
from substrate.world.isolated import FOLDER as ISOLATED
from substrate.world.overrides import NO_OVERRIDES, Overrides
from substrate.world.points import (
    DROPPED_FILE,
    SNAPSHOTS,
    first_point,
    forget_points_below,
    number_of,
    snapshots,
)
from substrate.world.rollback import open_layered, refuse_alive, refuse_squashed
from substrate.world.run import Manner, run
from substrate.world.spans import SPANS, read_record
from substrate.world.stack import BASE_LAYER, LayerStack, SpanLayer, cover_of
from substrate.world.store import CONFIG_FILE, FORKING_FILE, World
from substrate.world.stored import stored_config
from substrate.world.unattended import record_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.merged import Merged
    from substrate.world.context import Context
    from substrate.world.state import State

_INDEX = "work/index"


@record
class Forked:
    """What a fork came to: the new world, where it came from, and the spans whose layers it has."""

    world_id: str
    origin: str
    point: str | None
    layers: tuple[str, ...]


def fork(
    context: Context, world_id: str, new_id: str, point: str | None, warn: Callable[[str], None]
) -> Forked:
    """Make the world `new_id` from `world_id` as it is, or was at a span or snapshot.

    It runs, idle, when this returns. Raises `WorldStateError` while processes can still write to
    what it would inherit, `WorldExistsError`, and whatever `create` raises.
    """
    state, owner = open_layered(context, world_id)
    if state.status == states.CREATING:
        message = f"the world {world_id} is still being made"
        raise WorldStateError(message, f"substrate-runtime state {world_id}")
    complete(context, state)
    with World.open(context, world_id) as source:
        # Nobody accepts, discards or removes what is being copied, and no span begins.
        source.lock()
        state = source.read()
        assert state.layer is not None  # noqa: S101 -- open_layered has looked
        with LayerStack(state.layer, state.data) as stack:
            number = None if point is None else number_of(state.data, point)
            layers = _layers_at(state, owner, stack, number)
            record_all(state, owner, stack)
            origin = _Origin(state, layers, number)

            def fill(new: State) -> None:
                with World.open(context, new_id) as world:
                    world.write_file(FORKING_FILE, "")
                origin.copy_to(new)

            run(context, _request(source, state, new_id, fill), warn, Manner(detach=True))
    with World.open(context, new_id) as world:
        world.remove_file(FORKING_FILE)
    return Forked(new_id, world_id, point, tuple(layer.span_id for layer in layers))


def _layers_at(state: State, owner: str, stack: LayerStack, number: int | None) -> list[SpanLayer]:
    """Return the layers of spans up to a number; nobody can write to them, or to the world's own.

    All of them for None.
    """
    layers = stack.layers()
    if number is not None:
        refuse_squashed(stack, number)
        kept = [layer for layer in layers if layer.number <= number]
        if len(kept) < len(layers):
            # Below others: sealed, whoever still runs.
            return kept
    try:
        refuse_alive(state, owner)
    except WorldStateError as error:
        hint = "end them, or fork an earlier state: --at SPAN"
        raise WorldStateError(error.message, f"{error.hint}; {hint}") from None
    return layers


def _request(
    source: World, state: State, new_id: str, fill: Callable[[State], None]
) -> CreateRequest:
    assert state.layer is not None  # noqa: S101 -- open_layered has looked
    process = stored_config(source).process
    overrides = NO_OVERRIDES
    if process is not None:
        # As they were resolved for the first world, which may have been told otherwise.
        user = process.user
        overrides = Overrides(
            cwd=process.cwd, user=(user.uid, user.gid), groups=user.additional_gids
        )
    return CreateRequest(
        world_id=new_id,
        bundle=state.bundle,
        config_file=os.path.join(source.path, CONFIG_FILE),
        project=state.layer.project,
        overrides=overrides,
        listening=False,
        attended=True,
        idle=True,
        fill=fill,
    )


class _Origin:
    """What a fork takes over from its first world, which is locked meanwhile.

    `number` is the point in its history, None for now.
    """

    def __init__(self, state: State, layers: list[SpanLayer], number: int | None) -> None:
        self._number = number
        self._state = state
        self._data = state.data
        self._layers = layers
        self._without_content: dict[str, list[str]] = {}

    def copy_to(self, new: State) -> None:
        """Fill the data of the new world, whose own layer is empty and not mounted."""
        _check_alike(self._state, new)
        assert new.layer is not None  # noqa: S101 -- _check_alike has looked
        whole = (BASE_LAYER, *self._layers)
        paths = [f"{self._data}/{layer.name}/upper" for layer in reversed(whole)]
        below = [*cover_of(self._data), new.layer.project]
        with Stack(paths, below, new.layer.xattr_prefix) as merged:
            self._copy_layer(merged, BASE_LAYER, new, new.layer.directory)
            with LayerStack(new.layer, new.data) as stack:
                for layer in self._layers:
                    stack.receive(layer, partial(self._copy_layer, merged, layer, new))
        self._copy_file(f"{BASE_LAYER.name}/{BASELINE_FILE}", new, replace=True)
        self._copy_history(new)
        self._keep_inherited(new)
        _check_space(new)

    def _copy_layer(self, merged: Merged, layer: SpanLayer, new: State, target: str) -> None:
        assert new.layer is not None  # noqa: S101 -- _check_alike has looked
        source = f"{self._data}/{layer.name}"
        level = len(self._layers) - (BASE_LAYER, *self._layers).index(layer)
        content_of = partial(content_in_project, merged, level)
        with Replica(new.layer.xattr_prefix, content_of) as replica:
            write_since(target, replica.copy(f"{source}/upper", f"{target}/upper"))
            if not layer.number and os.path.isdir(f"{source}/{_INDEX}"):
                # Names of one file that nobody opened show its copy by this alone.
                os.mkdir(f"{target}/{_INDEX}", 0o700)
                replica.copy(f"{source}/{_INDEX}", f"{target}/{_INDEX}")
            self._without_content[layer.name] = replica.without_content

    def _copy_history(self, new: State) -> None:
        """Copy what is known of the spans, the points, and what accepts have left."""
        for name in _names(f"{self._data}/{SPANS}"):
            span_id = name.removesuffix(".json")
            if name.startswith(".") or span_id == name:
                continue
            if self._number is None or self._is_inherited(
                read_record(self._data, span_id)["layer"]
            ):
                self._copy_file(f"{SPANS}/{name}", new)
        for name in _names(f"{self._data}/{ISOLATED}"):
            if os.path.lexists(f"{new.data}/{SPANS}/{name}.json"):
                self._copy_file(f"{ISOLATED}/{name}", new)
        for name, number in snapshots(self._data):
            if self._is_inherited(number):
                os.makedirs(f"{new.data}/{SNAPSHOTS}", 0o700, exist_ok=True)
                where = f"{new.data}/{SNAPSHOTS}/{name}"
                os.symlink(str(number), where)
                made = os.lstat(f"{self._data}/{SNAPSHOTS}/{name}")
                times = (made.st_atime_ns, made.st_mtime_ns)
                os.utime(where, ns=times, follow_symlinks=False)
        for name in (DROPPED_FILE, f"{STORE}/{KNOWN_FILE}"):
            if os.path.lexists(f"{self._data}/{name}"):
                self._copy_file(name, new)
        # What was accepted is in the project, and the layers of before only the first can restore.
        forget_points_below(new.data, first_point(self._data))

    def _is_inherited(self, number: int) -> bool:
        return self._number is None or number <= self._number

    def _copy_file(self, name: str, new: State, *, replace: bool = False) -> None:
        """Copy one of our files, with its time: that is when it came to be known."""
        source, target = f"{self._data}/{name}", f"{new.data}/{name}"
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        made = os.O_TRUNC if replace else os.O_EXCL
        flags = os.O_WRONLY | os.O_CREAT | made | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(source, "rb") as old, open(os.open(target, flags, 0o600), "wb") as copy:
            copy_content(old.fileno(), copy.fileno())
            status = os.fstat(old.fileno())
            os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))

    def _keep_inherited(self, new: State) -> None:
        names = [layer.name for layer in (BASE_LAYER, *self._layers)]
        content: dict[str, dict[int, tuple[int, int, int]]] = {}
        if any(self._without_content.values()):
            with world_changes(new) as changes:
                merged = changes.merged
                for level, name in enumerate(reversed(names)):
                    files = self._without_content[name]
                    content[name] = contents_below(merged, level, files)
        write_inherited(new.data, Inherited(tuple(names), content))
        assert new.layer is not None  # noqa: S101 -- _check_alike has looked
        uppers = [f"{new.data}/{name}/upper" for name in reversed(names)]
        lowers = [*cover_of(new.data), new.layer.project]
        with Stack(uppers, lowers, new.layer.xattr_prefix) as merged:
            write_shown(new.data, shown_below_moved(merged))


def _check_alike(old: State, new: State) -> None:
    """Refuse a new world whose layers would mean something else than the old one's."""
    if old.layer is None or new.layer is None:
        message = f"the world {old.world_id} has layers, and a second one of its bundle would not"
        raise UnsupportedError(message, f"substrate-runtime state {old.world_id}")
    if old.layer.userxattr != new.layer.userxattr:
        message = f"the layers of {old.world_id} were made by another user"
        raise RefusedError(message, "fork as the user who made it")
    if (old.layer.owner < 0) != (new.layer.owner < 0):
        message = f"the files of {old.world_id} have other owners in its layers than a new world's"
        raise RefusedError(message, "give the project the owner it had, or begin a new world")


def _check_space(new: State) -> None:
    """Raise `SubstrateError` when what was copied is more than the new world may have."""
    found = used_space(new.data)
    if found is not None and found[0] > found[1]:
        message = f"the layers take {found[0]} bytes, more than their limit of {found[1]}"
        raise SubstrateError(message, "raise substrate.limits.disk, or fork an earlier state")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
