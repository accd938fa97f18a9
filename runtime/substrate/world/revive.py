"""revive: a world that has ended runs again, over the layers it has left.

Its processes are gone, and whatever it kept in memory; what it changed in the project is there as
it was. A failure, or an end in between, leaves the world as it was: ended, with its layers.
"""

from __future__ import annotations

from substrate.errors import RefusedError, WorldStateError
from substrate.isolation.conversation import end
from substrate.record import replace
from substrate.world import state as states
from substrate.world.changing import Changing
from substrate.world.create import create
from substrate.world.delete import end_processes, remove
from substrate.world.start import start_created, start_watcher
from substrate.world.store import CONFIG_FILE, World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.world.context import Context
    from substrate.world.create import Created, CreateRequest
    from substrate.world.state import State


def revive(context: Context, request: CreateRequest, warn: Callable[[str], None]) -> bool:
    """Make a world that has ended run again; False when it runs, or was never made whole.

    Raises `WorldNotFoundError`, and what `create` raises.
    """
    with World.open(context, request.world_id) as world:
        world.lock()
        former = world.read()
        if former.current_status in (states.RUNNING, states.PAUSED):
            return False
        if former.current_status == states.CREATING:
            # Its maker was killed, and no command has run in it: nothing is lost.
            remove(world, former, warn)
            return False
        if former.layer is None:
            message = f"the world {former.world_id} has ended, and had no layers"
            raise WorldStateError(message, f"substrate-runtime delete {former.world_id}")
        # A former attempt may wait at its gate.
        end_processes(former)
        _remove_cgroup(world, former, warn)
        with Changing(context, former.world_id, warn, held=world):
            pass  # what an accept, undo or discard has left half done is complete now
        config = world.read_file(CONFIG_FILE) or b"{}"
        try:
            created = create(context, replace(request, over_layers=True), world)
            _check_same_place(former, created)
            _start(context, world, created, request.executor, warn)
        except BaseException:
            _remove_cgroup(world, world.read(), warn)
            world.write_file(CONFIG_FILE, config.decode("utf-8", "surrogateescape"))
            world.write(replace(former, status=states.STOPPED, pid=0, start_time=0, cgroup=""))
            raise
        for name, reason in created.state.degraded:
            warn(f"{name}: {reason}")
    return True


def _start(
    context: Context,
    world: World,
    created: Created,
    executor: str,
    warn: Callable[[str], None],
) -> None:
    try:
        state = start_created(context, world, created, executor, warn)
    except BaseException:
        end(created.talk)
        raise
    start_watcher(state)


def _check_same_place(former: State, created: Created) -> None:
    """Refuse another project, or another place of it, than that of the layers."""
    before, now = former.layer, created.state.layer
    same = before is not None and now is not None and (
        (before.project, before.at, before.userxattr) == (now.project, now.at, now.userxattr)
    )  # fmt: skip
    if not same:
        end(created.talk)
        message = f"the layers of {former.world_id} were made over another place or by another user"
        raise RefusedError(message, "substrate diff shows them; substrate end begins anew")


def _remove_cgroup(world: World, state: State, warn: Callable[[str], None]) -> None:
    if state.cgroup:
        from substrate.world.limits import remove_cgroup

        remove_cgroup(state, world.path, warn)
