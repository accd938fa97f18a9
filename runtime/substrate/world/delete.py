"""delete: everything of a world, in an order in which every interruption can be finished."""

from __future__ import annotations

import os
import select

from substrate.errors import (
    SubstrateError,
    WorldExistsError,
    WorldNotFoundError,
    WorldStateError,
)
from substrate.filesystem.removal import remove_layers
from substrate.kernel import procfs, signals
from substrate.record import replace
from substrate.world import state as states
from substrate.world.ending import send
from substrate.world.hooks import run_late_hooks
from substrate.world.kill import world_processes
from substrate.world.store import World
from substrate.world.stored import has_hooks, stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.world.context import Context
    from substrate.world.state import State

_SIGKILL = 9
_DEATH_TIMEOUT_S = 10.0


def delete(
    context: Context, world_id: str, warn: Callable[[str], None], *, force: bool = False
) -> None:
    """Remove a world that is not running; with `force` one that is, or that never was.

    Raises `WorldNotFoundError` without force, `WorldStateError` when it runs.
    """
    try:
        world = World.open(context, world_id)
    except WorldNotFoundError:
        _remove_orphaned_data(context, world_id)
        if force:
            return
        raise
    with world:
        try:
            # Outside the branches below: whoever comes too late must touch nothing, since the id
            # may be another world's by now.
            world.lock()
        except WorldNotFoundError:
            if force:
                return
            raise
        try:
            state = world.read()
        except WorldNotFoundError:
            # Claimed and never written: the runtime that made it was killed at once.
            _remove_data(context, world_id)
            world.remove()
            return
        except SubstrateError:
            if not force:
                raise
            _remove_data(context, world_id)
            world.remove()
            return
        if state.current_status in (states.RUNNING, states.PAUSED) and not force:
            message = (
                f"cannot delete container {world_id} that is not stopped: {state.current_status}"
            )
            raise WorldStateError(message, f"substrate-runtime delete --force {world_id}")
        remove(world, state, warn)


def remove(world: World, state: State, warn: Callable[[str], None]) -> None:
    """End a world and remove what is left of it; the caller holds the lock."""
    end_processes(state)
    if state.cgroup:
        from substrate.world.limits import remove_cgroup

        remove_cgroup(state, world.path, warn)
    if os.path.isdir(f"{state.data}/accept"):
        from substrate.world.changing import forget_changes

        forget_changes(state, warn)
    _remove_data(world.context, world.world_id)
    try:
        if has_hooks(world):
            hooks = stored_config(world).hooks.poststop
            # OCI runtime-spec, lifecycle 13: log a warning and go on.
            run_late_hooks("poststop", hooks, replace(state, status=states.STOPPED), warn)
    except SubstrateError as error:
        # The stored configuration is damaged: then there are no hooks to know of.
        warn(error.message)
    world.remove()


def end_processes(state: State) -> None:
    """Kill what is left of a world, whatever its status, and wait for its end."""
    pidfd = procfs.open_pidfd(state.pid, state.start_time) if state.pid else None
    if pidfd is None:
        return
    try:
        if "pid" in state.namespaces:
            # The end of pid 1 is the end of all. Whatever the status: a world whose runtime was
            # killed stays `creating` while its process waits at the gate.
            signals.send_if_alive(pidfd, _SIGKILL)
        else:
            send(procfs.identify(lambda: world_processes(state)), _SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_DEATH_TIMEOUT_S * 1000):
            message = f"process {state.pid} does not die although it was killed"
            raise SubstrateError(message, f"see /proc/{state.pid}/stack for where it waits")
    finally:
        os.close(pidfd)
    _reap(state.pid)


def _reap(pid: int) -> None:
    """Reap the process when it is this one's child, as after `run --keep` in a library."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _remove_orphaned_data(context: Context, world_id: str) -> None:
    """Remove layers without a state, which an earlier `delete` that was killed has left.

    Under a claim of the id: a `create` of the same id may be making new ones right now.
    """
    if not os.path.lexists(os.path.join(context.data, world_id)):
        return
    try:
        world = World.claim(context, world_id)
    except WorldExistsError:
        return
    with world:
        _remove_data(context, world_id)
        world.remove()


def _remove_data(context: Context, world_id: str) -> None:
    path = os.path.join(context.data, world_id)
    if os.path.lexists(path):
        remove_layers(path)
