"""start: let the process of a created world execute its program."""

from __future__ import annotations

import _socket
import os

from substrate import jsontext
from substrate.errors import SubstrateError, WorldStateError
from substrate.kernel import messages, procfs, signals
from substrate.record import replace
from substrate.world import state as states
from substrate.world.hooks import run_late_hooks
from substrate.world.store import GATE_FILE, STEPS_FILE, World
from substrate.world.stored import has_hooks, stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.bundle.model import Config, Process
    from substrate.world.context import Context
    from substrate.world.create import Created


def start(context: Context, world_id: str, warn: Callable[[str], None]) -> None:
    """Run the startContainer hooks, open the gate, run the poststart hooks.

    Raises `WorldStateError` unless the world is created.
    """
    with World.open(context, world_id) as world:
        world.lock()
        state = world.read()
        if state.current_status != states.CREATED:
            message = f"cannot start a container that is {state.current_status}"
            if state.current_status == states.STOPPED:
                message = f"container not running: {world_id} has stopped"
            raise WorldStateError(message, f"substrate-runtime state {world_id}")
        # None: no hook of any kind, which is the common case and costs no parsing.
        config = stored_config(world) if has_hooks(world) else None
        if config is not None:
            before_start(context, world, state, config, config.process, "native")
        _open_gate(world)
        after_start(world, state, config, warn)
        start_watcher(state)


def before_start(
    context: Context, world: World, state: states.State, config: Config,
    process: Process | None, executor: str,
) -> None:  # fmt: skip
    """Run the startContainer hooks; when one fails the world is ended."""
    if config.hooks.start_container and process is not None:
        from substrate.world.filters import find_filter
        from substrate.world.inner_hooks import InnerHooks

        hooks = InnerHooks(state, world.path, executor)
        try:
            hooks.run_start_hooks(
                config.hooks.start_container, process, find_filter(context, config)
            )
        except SubstrateError:
            _kill(state)
            raise


def after_start(
    world: World, state: states.State, config: Config | None, warn: Callable[[str], None]
) -> states.State:
    """Record that the world runs, and run the poststart hooks, whose failure is a warning."""
    state = replace(state, status=states.RUNNING)
    world.write(state)
    world.remove_file(GATE_FILE)
    if config is None:
        return state
    # OCI runtime-spec, lifecycle 10: log a warning and go on.
    run_late_hooks("poststart", config.hooks.poststart, state, warn)
    return state


def start_created(
    context: Context, world: World, created: Created, executor: str, warn: Callable[[str], None]
) -> states.State:
    """Let the payload of a world run that was created in this process; return its state.

    When it cannot, the caller ends what was made.
    """
    before_start(context, world, created.state, created.config, created.process, executor)
    created.talk.go()
    created.talk.wait_for_exec()
    state = after_start(world, created.state, created.config, warn)
    created.talk.close()
    return state


def start_watcher(state: states.State) -> int | None:
    """Start what ends the world after its time; returns its pid, None without such a limit."""
    if state.wall_time_s is None:
        return None
    from substrate.world.walltime import watch

    return watch(state, state.wall_time_s)


def _open_gate(world: World) -> None:
    gate = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    gate.settimeout(messages.ANSWER_TIMEOUT_S)
    try:
        gate.connect(f"/proc/self/fd/{world.fileno()}/{GATE_FILE}")
        gate.send(messages.pack(messages.GO))
        raw = gate.recv(messages.SIZE)
    except (ConnectionError, FileNotFoundError):
        message = f"container not running: {world.world_id} ended at its gate"
        raise WorldStateError(message) from None
    finally:
        gate.close()
    if raw:
        raise _explain(world, messages.unpack(raw)[1])


def _explain(world: World, value: int) -> SubstrateError:
    index, number = messages.error_parts(value)
    steps = jsontext.loads(world.read_file(STEPS_FILE) or b"{}")
    step, call = steps.get(str(index), (f"run step {index}", ""))
    from substrate.isolation.failures import failure

    return failure(step, call, number)


def _kill(state: states.State) -> None:
    pidfd = procfs.open_pidfd(state.pid, state.start_time)
    if pidfd is not None:
        signals.send_if_alive(pidfd, 9)
        os.close(pidfd)
