"""A world whose changes are about to go somewhere: locked, nothing of an earlier call half done."""

from __future__ import annotations

import os

from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.filesystem.baseline import Baseline, read_baseline
from substrate.filesystem.changes import LayerChanges
from substrate.filesystem.journal import Store
from substrate.filesystem.known import Known
from substrate.filesystem.owners import Owners
from substrate.filesystem.project import Project
from substrate.filesystem.transaction import recover
from substrate.filesystem.undo import finish
from substrate.world.kill import world_processes
from substrate.world.store import World
from substrate.world.stored import read_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    from substrate.world.context import Context
    from substrate.world.state import Layer, State

STORE = "accept"


class Changing:
    """A world, its layer and its project, held until the end of the `with` statement.

    `lives`: processes of the world are there, so its layer is mounted.
    """

    def __init__(self, context: Context, world_id: str, warn: Callable[[str], None]) -> None:
        self._world = World.open(context, world_id)
        self.world_id = world_id
        self.warn = warn
        self._opened: list[Project] = []
        try:
            self._world.lock()
            self.state: State = self._world.read()
            self.layer: Layer = _layer_of(self.state)
            self.prefix = "user.overlay." if self.layer.userxattr else "trusted.overlay."
            self.lives = bool(world_processes(self.state, self._world.path))
            self.store = Store(os.path.join(self._world.data, STORE))
            self.store.prepare()
            recover(self.store, warn)
            self.finish()
            self.project = Project(self.layer.project)
            self._opened.append(self.project)
            self.project.lock()
            self.known = Known(self.store.path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the project and the world up."""
        for project in self._opened:
            project.close()
        self._world.close()

    def finish(self) -> None:
        """Complete what an accept leaves for after its commit."""
        layer = self.layer
        finish(self.store, layer.directory, layer.project, self.prefix, lives=self.lives)

    def changes(self) -> LayerChanges:
        """Return the changes of the world; raises `RefusedError` when the project is another."""
        baseline = read_baseline(self.layer.directory) or Baseline(_created_ns(self.state))
        if not baseline.is_root(os.fstat(self.project.fd)):
            message = f"{self.layer.project} is not the directory {self.world_id} was made over"
            raise RefusedError(message, "move it back, or look at the diff and delete the world")
        return LayerChanges(self.layer.directory, self.layer.project, self.prefix, baseline)

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


def recover_world(world: World, state: State, warn: Callable[[str], None]) -> None:
    """Take back an accept or undo that was killed; the caller holds the world's lock."""
    store = Store(os.path.join(world.data, STORE))
    if state.layer is not None and os.path.isdir(store.path):
        recover(store, warn)


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
