"""A process in a running world that the caller attends itself: streams given, nothing waited for.

`exec` stays in the foreground of this program's own terminal and signals; this is for whoever has
several processes, or threads, or wants the output.
"""

from __future__ import annotations

import fcntl
import os
import select

from substrate.errors import (
    CannotExecuteError,
    UnsupportedError,
    UsageError,
    WorldStateError,
)
from substrate.isolation.conversation import LOWEST_INPUT, Conversation, compile_plan, end
from substrate.isolation.entering import EnteredWorld, exec_sequence
from substrate.isolation.payload import Descriptors
from substrate.kernel import signals
from substrate.record import record
from substrate.world import state as states
from substrate.world.filters import find_filter
from substrate.world.joining import Entrance
from substrate.world.overrides import override
from substrate.world.placing import PLAIN, check_spans, place
from substrate.world.store import World
from substrate.world.stored import stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from substrate.bundle.model import Config
    from substrate.filesystem.entries import FsDiff
    from substrate.world.context import Context
    from substrate.world.overrides import Overrides
    from substrate.world.placing import View
    from substrate.world.span import Span
    from substrate.world.state import State


@record
class Started:
    """A process of a world, a child of this one. The caller reaps it, and closes what is open.

    `pidfd` is readable once it has ended. `master_fd` is the master of its terminal, or -1.
    `span` is what it began, of the world in this `state`.
    """

    pid: int
    pidfd: int
    master_fd: int
    state: State | None = None
    span: Span | None = None

    def has_ended(self, timeout_s: float | None = 0) -> bool:
        """Wait for the end, None as long as it takes, and return whether it came."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def signal(self, number: int) -> None:
        """Send a signal to the process and the group it leads, if it still runs."""
        try:
            # Not yet reaped, so the number is still its own; it leads a session, see TakeSession.
            os.killpg(self.pid, number)
        except ProcessLookupError:
            try:
                signals.send(self.pidfd, number)
            except ProcessLookupError:
                return

    def reap(self) -> int:
        """Wait for the end and return its code: an exit status, or minus the signal."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.pidfd)
        return code

    def close(self) -> None:
        """Close what is open, for a process that was reaped elsewhere."""
        os.close(self.pidfd)
        if self.master_fd >= 0:
            os.close(self.master_fd)


def begin(
    context: Context,
    world_id: str,
    overrides: Overrides,
    descriptors: Mapping[int, int],
    names: tuple[str | None, str] = (None, ""),
    before: Callable[[Started], None] | None = None,
) -> Started:
    """Start a process in a world and return once its program runs.

    `descriptors`: which of the caller's it gets under which number below `LOWEST_INPUT`; the
    standard streams not named are this program's own. The caller keeps all of them. `names` are
    the ids of its span and session; who begins a span must `leave` it. `before` is called with
    the process waiting to execute its program; it owns what is open from then on, and a process
    that then fails is already ended and reaped. Raises `WorldStateError` unless the world runs,
    and what `exec` raises.
    """
    with World.open(context, world_id) as world:
        state = world.read()
        config = stored_config(world)
        owner = world.path
    if state.current_status != states.RUNNING:
        message = f"container not running: {world_id} is {state.current_status}"
        raise WorldStateError(message, f"substrate-runtime state {world_id}")
    process = override(config.process, overrides)
    if process is None:
        message = "there is nothing to execute"
        raise UsageError(message)
    seccomp = find_filter(context, config)
    inputs = _raised(descriptors)
    try:
        with Entrance(state, owner) as entrance:

            def enter(view: View) -> tuple[Conversation, int]:
                entered = EnteredWorld(
                    state.namespaces, state.may_set_groups, entrance.into_cgroup, view.overlay,
                    view.joins_mounts,
                )  # fmt: skip
                steps = exec_sequence(
                    process, entered, seccomp, Descriptors(given=tuple(descriptors))
                )
                known = entrance.inputs | inputs | view.inputs
                talk = Conversation(compile_plan(steps), known, "native")
                return talk, _bring_in(talk, entered, entrance, terminal=process.terminal)

            if state.layer is None or not _has_spans(state, config):
                (talk, master), span = enter(PLAIN), None
            else:
                (talk, master), span = place(state, config, owner, names, enter)
    finally:
        for fd in inputs.values():
            os.close(fd)
    return _let_run(Started(talk.pid, os.pidfd_open(talk.pid), master, state, span), talk, before)


def leave(started: Started, status: int) -> FsDiff | None:
    """Return what the span of a process changed and keep it; None when it began none."""
    if started.span is None or started.state is None:
        return None
    from substrate.world.span import leave_span

    return leave_span(started.state, started.span, status=status)


def _has_spans(state: State, config: Config) -> bool:
    """Whether a world's commands have layers of their own; else they share the world's."""
    try:
        check_spans(state, config)
    except UnsupportedError:
        return False
    return True


def _let_run(
    started: Started, talk: Conversation, before: Callable[[Started], None] | None
) -> Started:
    try:
        if before is not None:
            before(started)
        talk.go()
        talk.wait_for_exec()
    except BaseException:
        end(talk)
        if before is None:
            started.close()
        if started.span is not None:
            leave(started, CannotExecuteError.status)
        raise
    talk.close()
    return started


def _bring_in(
    talk: Conversation, world: EnteredWorld, entrance: Entrance, *, terminal: bool
) -> int:
    try:
        if world.forks:
            talk.follow_fork()
        entrance.bring_in(talk.pid)
        return talk.expect_ready(terminal=terminal)
    except BaseException:
        end(talk)
        raise


def _raised(descriptors: Mapping[int, int]) -> dict[str, int]:
    """Return duplicates that no number of the program's can overwrite, as the plan's inputs."""
    return {
        f"fd{number}": fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_INPUT)
        for number, fd in descriptors.items()
    }
