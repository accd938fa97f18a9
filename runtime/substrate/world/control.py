"""pause, resume, update and events: what is done to a world through its cgroup."""

from __future__ import annotations

from substrate import jsontext
from substrate.cgroups.limits import cgroup_files, merge_resources
from substrate.cgroups.owned import open_world
from substrate.cgroups.place import update_world
from substrate.cgroups.statistics import read_statistics
from substrate.errors import UnsupportedError, WorldStateError
from substrate.world import state as states
from substrate.world.store import CONFIG_FILE, World
from substrate.world.stored import read_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cgroups.group import Cgroup
    from substrate.cgroups.limits import Files
    from substrate.world.context import Context
    from substrate.world.state import State


def pause(context: Context, world_id: str) -> None:
    """Stop every process of a world where it is; raises `WorldStateError` unless it runs."""
    with World.open(context, world_id) as world:
        world.lock()
        state = world.read()
        _demand(state, states.RUNNING, states.CREATED)
        with _cgroup(world, state) as cgroup:
            cgroup.freeze()


def resume(context: Context, world_id: str) -> None:
    """Let the processes of a paused world go on; raises `WorldStateError` unless it is paused."""
    with World.open(context, world_id) as world:
        world.lock()
        state = world.read()
        _demand(state, states.PAUSED)
        with _cgroup(world, state) as cgroup:
            cgroup.thaw()


def update(context: Context, world_id: str, change: dict[str, Any], file: str) -> None:
    """Change the limits of a world: `change` is of the form of linux.resources.

    What it does not name stays as it is. `file` is named in the errors. Nothing is stored when
    the kernel refuses a value.
    """
    with World.open(context, world_id) as world:
        world.lock()
        state = world.read()
        _demand(state, states.RUNNING, states.CREATED, states.PAUSED)
        stored = read_stored(world)
        linux: dict[str, Any] = stored.get("linux") or {}
        merged = merge_resources(linux.get("resources"), change)
        files = cgroup_files(merged, None, file, "$")
        for loss in files.losses:
            raise UnsupportedError(loss.reason, "leave it out")
        with _cgroup(world, state) as cgroup:
            _check_managed(state, files)
            update_world(cgroup, files)
        if state.unit:
            # When the kernel has taken every value.
            from substrate.cgroups.scope import update_scope

            update_scope(state.unit, files)
        stored["linux"] = linux | {"resources": merged}
        world.write_file(CONFIG_FILE, jsontext.dumps(stored))


def statistics(context: Context, world_id: str) -> dict[str, Any]:
    """Return the figures of a world as runc's `events --stats` gives them."""
    with World.open(context, world_id) as world:
        state = world.read()
        _demand(state, states.RUNNING, states.CREATED, states.PAUSED)
        with _cgroup(world, state) as cgroup:
            return {"type": "stats", "id": world_id, "data": read_statistics(cgroup.fd).to_oci()}


def _check_managed(state: State, files: Files) -> None:
    """Refuse limits that would need controllers of cgroups which are systemd's."""
    if state.unit:
        from substrate.cgroups.scope import unmanaged_controllers

        for loss in unmanaged_controllers(files):
            raise UnsupportedError(loss.reason, "leave it out")


def _demand(state: State, *statuses: str) -> None:
    if state.current_status not in statuses:
        message = f"container {state.world_id} is {state.current_status}, not {statuses[0]}"
        if state.current_status == states.STOPPED:
            message = f"container not running: {state.world_id} has stopped"
        raise WorldStateError(message, f"substrate-runtime state {state.world_id}")


def _cgroup(world: World, state: State) -> Cgroup:
    opened = open_world(state.cgroup, world.path) if state.cgroup else None
    if opened is None:
        message = f"the world {state.world_id} has no cgroup"
        hint = "a world gets one on a host of cgroup v2 alone (substrate doctor), or by cgroupsPath"
        raise UnsupportedError(message, hint)
    return opened
