"""A world whose changes are about to go somewhere: locked, nothing of an earlier call half done."""

from __future__ import annotations

import os
from contextlib import ExitStack

from substrate import jsontext
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.filesystem.archive import Archive
from substrate.filesystem.baseline import Baseline, read_baseline
from substrate.filesystem.changes import LayerChanges
from substrate.filesystem.journal import Store, read_record, sync_directory
from substrate.filesystem.known import Known
from substrate.filesystem.owners import Owners
from substrate.filesystem.project import Project
from substrate.filesystem.removal import remove_layers
from substrate.filesystem.rest import empty_layer, set_redirects
from substrate.filesystem.room import no_room
from substrate.filesystem.transaction import recover
from substrate.filesystem.undo import finish
from substrate.world.accepted import DISCARD, STORE, highest_accepted
from substrate.world.changes import layer_alone, world_changes
from substrate.world.kill import world_processes
from substrate.world.moved import follow_moves, tell_others, was_told
from substrate.world.points import forget_points
from substrate.world.reserve import Released
from substrate.world.stack import BASE_LAYER, LAYERS, LayerStack
from substrate.world.store import World
from substrate.world.stored import read_stored, stored_config
from substrate.world.unattended import record_all
from substrate.world.writers import is_at_rest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from substrate.filesystem.copies.discard import Place
    from substrate.world.context import Context
    from substrate.world.stack import SpanLayer
    from substrate.world.state import Layer, State

# There while all changes are being forgotten, which takes more than one step.
_FORGETTING = "forgetting"
# As JSON, which places of a copy.
_FORGETTING_PLACES = "forgetting-places"
_ASIDE = "accepted-layers"


class Changing:
    """A world, its layers and its project, held until the end of the `with` statement.

    `held`: the world, when it is open and locked already. `makes_room`: what is set aside may be
    used. `lives`: processes of the world use its layers, so nothing of them may be adapted.
    """

    def __init__(
        self,
        context: Context,
        world_id: str,
        warn: Callable[[str], None],
        held: World | None = None,
        *,
        makes_room: bool = False,
    ) -> None:
        self._opened = ExitStack()
        self.world_id = world_id
        self.warn = warn
        # For what is said when there is no room: what is done, and where.
        self._doing = f"changing the world {world_id}"
        self._places: tuple[str, ...] = ()
        try:
            if held is None:
                held = self._opened.enter_context(World.open(context, world_id))
                held.lock()
            self._world = held
            self.state: State = self._world.read()
            self.layer: Layer = _layer_of(self.state)
            self._doing = f"changing {self.layer.project}"
            self._places = (self.layer.project, self.state.data)
            if makes_room:
                self._opened.enter_context(Released(self.state.data))
            self.stack = self._opened.enter_context(
                LayerStack(self.layer, self.state.data, unfinished=True)
            )
            self._processes = world_processes(self.state, self._world.path)
            self.lives = bool(self._processes) and not self._is_idle()
            self.store = Store(os.path.join(self.state.data, STORE))
            self.store.prepare()
            was_killed = os.path.lexists(self.store.pending)
            self._recover()
            self.project = self._opened.enter_context(Project(self.layer.project))
            self.project.lock()
            if was_killed:
                tell_others(context, self.state)
            if not self.lives:
                if was_told(self.state.data):
                    follow_moves(self.state, self.stack)
                record_all(self.state, self._world.path, self.stack)
            self.known = Known(self.store.path)
        except BaseException as error:
            self._close(error)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._close(error)

    def _close(self, error: BaseException | None) -> None:
        self._opened.close()
        refused = no_room(error, self._doing, *self._places)
        if refused is not None:
            raise refused from error

    def _recover(self) -> None:
        """Take back what an earlier call has left half done, or complete it."""
        undone = read_record(self.store.undone)
        if undone is not None:
            self.settle(undone.settle, self.store.place(undone.undoes))
        recover_stores(self.state, self.warn)
        if not self.lives and os.path.lexists(self._mark):
            self.forget_everything()
        if not self.lives and os.path.lexists(os.path.join(self.store.path, _FORGETTING_PLACES)):
            self._continue_forgetting()
        self.finish()

    def finish(self) -> None:
        """Complete what an accept leaves for after its commit."""
        # The table of a copy follows in any case.
        finish(self.store, None if self.lives and not self.layer.copied else self.settle)

    def join_layers(self) -> SpanLayer:
        """Make one layer of those that spans have left, and return it; the world's own if none.

        Nothing of the world runs. Raises `RefusedError` when both hold changes.
        """
        layers = self.stack.layers()
        if not layers:
            return BASE_LAYER
        if not self.stack.is_empty(BASE_LAYER, None):
            message = "changing a part: it is spread over the world's own layer and those of spans"
            raise RefusedError(message, f"substrate-runtime discard {self.world_id}")
        if len(layers) > 1:
            self.stack.squash(layers)
        return self.stack.layers()[-1]

    def changes(self, alone: SpanLayer | None = None) -> LayerChanges:
        """Return the changes of the world, to be entered; `alone` is the layer that has them all.

        Raises `RefusedError` when its project is another directory now.
        """
        baseline = read_baseline(self.layer.directory) or Baseline(_created_ns(self.state))
        if not baseline.is_root(os.fstat(self.project.fd)):
            message = f"{self.layer.project} is not the directory {self.world_id} was made over"
            raise RefusedError(message, "move it back, or look at the diff and delete the world")
        if self.layer.copied:
            from substrate.world.copying import layer_changes_of

            return layer_changes_of(self.layer, baseline)
        found = world_changes(self.state) if alone is None else layer_alone(self.state, alone)
        return LayerChanges(found, baseline, self.state.data)

    def forget_everything(self) -> None:
        """Forget every change of the world; a call that is killed here is continued."""
        self.store.mark()
        os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync_directory(self.store.path)
        self._empty_layers()
        os.unlink(self._mark)
        self.store.rest()

    def forget_places(self, places: list[Place]) -> None:
        """Forget what the world changed at some places of its copy; continued when it is killed."""
        self.store.mark()
        mark = os.path.join(self.store.path, _FORGETTING_PLACES)
        with open(f"{mark}.new", "wb") as file:
            file.write(jsontext.dumps(places).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{mark}.new", mark)
        sync_directory(self.store.path)
        self._continue_forgetting()

    def _continue_forgetting(self) -> None:
        from substrate.world.copying import refresh

        mark = os.path.join(self.store.path, _FORGETTING_PLACES)
        with open(mark, "rb") as file:
            places = [(path, origin, flag) for path, origin, flag in jsontext.loads(file.read())]
        refresh(self.layer, stored_config(self._world), places)
        os.unlink(mark)
        self.store.rest()

    @property
    def _mark(self) -> str:
        return os.path.join(self.store.path, _FORGETTING)

    def _empty_layers(self) -> None:
        if self.layer.copied:
            from substrate.world.copying import refresh

            refresh(self.layer, stored_config(self._world))
            return
        layers = os.path.join(self.state.data, LAYERS)
        aside = os.path.join(self.state.data, _ASIDE)
        remove_layers(aside)
        if os.path.isdir(layers):
            forget_points(self.state.data, highest_accepted(self.state.data) or -1)
            os.rename(layers, aside)
        if not self._processes:
            empty_layer(self.layer.directory, self.layer.project, self.layer.userxattr)
        remove_layers(aside)

    def settle(self, how: dict[str, Any], place: str) -> None:
        """Give the layers what an accept, or its undo, has planned for them; twice is once.

        `place` is the directory of that accept. Raises `SubstrateError` when there is no room.
        """
        try:
            self._settle(how, place)
        except OSError as error:
            what = (error.strerror or "").lower()
            message = f"the project is changed, but not the layers of {self.world_id}: {what}"
            hint = f"put that right, then let substrate-runtime diff {self.world_id} complete it"
            raise SubstrateError(message, hint) from error

    def _settle(self, how: dict[str, Any], place: str) -> None:
        if self.layer.copied:
            from substrate.world.copying import settle

            settle(self.layer, how)
            return
        archive, mounted = self.archive(place), bool(self._processes)
        if how.get("empty"):
            # Not what a squash has left: listing the layers drops it.
            self.stack.layers()
            archive.put_away(self.layer.project, mounted=mounted, userxattr=self.layer.userxattr)
        elif how.get("restore"):
            archive.bring_back(mounted=mounted)
        else:
            redirects = how.get("redirects", ())
            set_redirects(self.layer.directory, redirects, self.layer.xattr_prefix)

    def check_undo(self, number: int) -> None:
        """Raise `RefusedError` when the layers cannot get back now what an accept changed there."""
        place = self.store.place(number)
        record, archive = read_record(place), self.archive(place)
        uses = archive.holds_layers or (record is not None and record.unsettle.get("redirects"))
        if uses and self.lives:
            message = f"undoing accept {number}: processes of the world use the layers above it"
            raise RefusedError(message, f"substrate-runtime ps {self.world_id} tells which to end")
        archive.check_room(mounted=bool(self._processes))

    def archive(self, place: str) -> Archive:
        """Return what the accept in a directory has put away of the layers."""
        return Archive(place, os.path.join(self.state.data, LAYERS), self.layer.directory)

    def _is_idle(self) -> bool:
        """Whether only our own init is left, over a layer in which nothing was changed."""
        resting = is_at_rest(self.state, self._world.path)
        if self.layer.copied:
            return resting
        return resting and not os.listdir(f"{self.stack.path(BASE_LAYER)}/upper")

    def owners(self) -> Owners:
        """Return who owns what in the project."""
        status = os.fstat(self.project.fd)
        linux: dict[str, Any] = read_stored(self._world).get("linux") or {}
        ranges = [
            tuple(
                (line["hostID"], line["size"])
                for line in linux.get(key) or ()
                if line["hostID"] != line["containerID"]
            )
            for key in ("uidMappings", "gidMappings")
        ]
        return Owners(status.st_uid, status.st_gid, *ranges)


def recover_stores(state: State, warn: Callable[[str], None]) -> None:
    """Take back an accept, undo or discard that was killed; the caller holds the world's lock."""
    for name in (STORE, DISCARD):
        store = Store(os.path.join(state.data, name))
        if not os.path.isdir(store.path):
            continue
        recover(store, warn)
        if name == DISCARD:
            # Nothing follows on its commit.
            store.rest()


def forget_changes(state: State, warn: Callable[[str], None]) -> None:
    """Leave nothing of accepts outside the world's data, which is about to be removed.

    One that was interrupted is taken back; what cannot be done is told, and not raised.
    """
    try:
        recover_stores(state, warn)
    except SubstrateError as error:
        warn(error.message)
    store = Store(os.path.join(state.data, STORE))
    for number in store.numbers():
        try:
            record = read_record(store.place(number))
            if record is not None and record.pieces:
                remove_layers(record.pieces)
        except SubstrateError as error:
            warn(error.message)


def _layer_of(state: State) -> Layer:
    if state.layer is None:
        message = f"the world {state.world_id} has no layer"
        raise UnsupportedError(message, 'set $.substrate.project.write to "layers"')
    if not os.path.isdir(state.layer.project):
        message = f"the project {state.layer.project} is gone"
        raise SubstrateError(message, f"substrate-runtime delete {state.world_id}")
    return state.layer


def _created_ns(state: State) -> int:
    """Return the time in the state; a tick earlier, as files are stamped with a coarse clock."""
    from calendar import timegm
    from time import strptime

    whole, _, rest = state.created.rstrip("Z").partition(".")
    seconds = timegm(strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 1_000_000_000 + int(rest or 0) - 10_000_000
