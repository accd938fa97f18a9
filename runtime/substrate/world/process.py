"""A process in a running world that the caller attends itself: streams given, nothing waited for.

`exec` stays in the foreground of this program's own terminal and signals; this is for whoever has
several processes, or threads, or wants the output.
"""

from __future__ import annotations

import _thread
import fcntl
import os
import select

from substrate.errors import (
    CannotExecuteError,
    UnsupportedError,
    UsageError,
    WorldStateError,
)
from substrate.isolation.conversation import LOWEST_INPUT, Conversation, end
from substrate.isolation.entering import EnteredWorld, exec_plan
from substrate.isolation.payload import Descriptors
from substrate.kernel import signals
from substrate.record import record
from substrate.world import state as states
from substrate.world.console import signal_foreground
from substrate.world.ending import end_tree
from substrate.world.filters import find_filter
from substrate.world.joining import Entrance
from substrate.world.outcome import of_process, of_span
from substrate.world.overrides import override
from substrate.world.placing import PLAIN, check_spans, place
from substrate.world.store import World
from substrate.world.stored import stored_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from resource import struct_rusage

    from substrate.bundle.model import Config
    from substrate.cgroups.report import LimitHit
    from substrate.cgroups.spans import SpanCgroup
    from substrate.filesystem.entries import FsDiff
    from substrate.world.ahead import LayerAhead
    from substrate.world.context import Context
    from substrate.world.joining import View
    from substrate.world.outcome import Resources
    from substrate.world.overrides import Overrides
    from substrate.world.span import Span
    from substrate.world.state import State


@record
class Moments:
    """What else is done while a command begins, each once or not at all.

    `announce`: while its process is being made, and before its program may run; what it raises
    keeps the program from running. `look`: as late as that, for a command whose changes are told
    from the layer's before and after. `before`: with the process waiting to execute its program.
    """

    announce: Callable[[], None] | None = None
    look: Callable[[State], None] | None = None
    before: Callable[[Started], None] | None = None


NO_MOMENTS = Moments()


class Started:
    """A process of a world, a child of this one. Its maker reaps it, then closes it.

    `pidfd` is readable once it has ended. `master_fd` is the master of its terminal, or -1.
    `span` is the layer it writes to and `cgroup` what it is counted and ended in, None where it
    has none of its own; `state` is its world's, None for a process of the host.
    """

    def __init__(
        self,
        pid: int,
        master_fd: int = -1,
        state: State | None = None,
        span: Span | None = None,
        cgroup: SpanCgroup | None = None,
    ) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.master_fd = master_fd
        self.state = state
        self.span = span
        self._cgroup = cgroup
        self._usage: struct_rusage | None = None
        self._reaping = _thread.allocate_lock()

    def has_ended(self, timeout_s: float | None = 0) -> bool:
        """Wait for the end, None as long as it takes, and return whether it came."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def signal(self, number: int) -> None:
        """Send a signal to the process and the group it leads, if it still runs; by any thread.

        And to whichever group is in the foreground of its terminal: a shell's job is one.
        """
        # Not reaped meanwhile, so the number is still its own; it leads a session, see TakeSession.
        with self._reaping:
            if self.pidfd < 0:
                return
            signal_foreground(self.master_fd, self.pid, number)
            if not _signal_group(self.pid, number):
                signals.send_if_alive(self.pidfd, number)

    def kill_all(self) -> None:
        """Kill the process and what it has started: all of that, where it has a cgroup."""
        if self._cgroup is not None:
            self._cgroup.kill()
        else:
            end_tree(self.pid)

    def reap(self) -> int:
        """Wait for the end and return its code: an exit status, or minus the signal."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._reaping:
            _, status, self._usage = os.wait4(self.pid, 0)
            os.close(self.pidfd)
            self.pidfd = -1
        return os.waitstatus_to_exitcode(status)

    def used(self, hits: tuple[LimitHit, ...] = ()) -> Resources:
        """Return what it used, and give its cgroup up; once, after its end."""
        cgroup, self._cgroup = self._cgroup, None
        if cgroup is None:
            return of_process(self._usage, hits)
        try:
            return of_span(cgroup, self._usage, hits)
        finally:
            cgroup.close()

    def close(self) -> None:
        """Close what is open, for a process that was reaped elsewhere."""
        with self._reaping:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.master_fd >= 0:
            os.close(self.master_fd)


def begin(
    context: Context,
    world_id: str,
    overrides: Overrides,
    descriptors: Mapping[int, int],
    names: tuple[str | None, str] = (None, ""),
    moments: Moments = NO_MOMENTS,
    ahead: LayerAhead | None = None,
) -> Started:
    """Start a process in a world and return once its program runs.

    `descriptors`: which of the caller's it gets under which number below `LOWEST_INPUT`; the
    standard streams not named are this program's own. The caller keeps all of them. `names` are
    the ids of its span and session; who begins a span must `leave` it. `ahead` may have its layer
    made already. Who is called before the program runs owns what is open from then on, and a
    process that then fails is already ended and reaped. Raises `WorldStateError` unless the world
    runs, and what `exec` raises.
    """
    state, config, owner = _running(context, world_id)
    process = override(config.process, overrides)
    if process is None:
        message = "there is nothing to execute"
        raise UsageError(message)
    seccomp = find_filter(context, config)
    has_spans = state.layer is not None and _has_spans(state, config)
    looks = moments.look is not None and state.layer is not None and not has_spans
    # Whose going on depends on nothing that we do with the process at its gate.
    waits = looks or moments.before is not None or process.terminal
    inputs = _raised(descriptors)
    span_id = names[0] or ""
    try:
        with Entrance(state, owner, spanned=bool(span_id), span_id=span_id) as entrance:

            def enter(view: View) -> tuple[Conversation, int]:
                entered = EnteredWorld(
                    state.namespaces, state.may_set_groups, entrance.into_cgroup, view.overlay,
                    view.joins_mounts,
                )  # fmt: skip
                given = Descriptors(given=tuple(descriptors))
                plan = exec_plan(process, entered, seccomp, given)
                known = entrance.inputs | inputs | view.inputs
                talk = Conversation(plan, known, "native")
                # In a layer that others write to as well, its share is claimed first.
                own = view.is_own or state.layer is None
                ahead = own and not waits and not entrance.into_cgroup
                return talk, _bring_in(
                    talk, entered, entrance, (moments.announce, view.confirm),
                    ahead=ahead, terminal=process.terminal,
                )  # fmt: skip

            if has_spans:
                (talk, master), span = place(state, config, owner, names, enter, ahead)
            else:
                (talk, master), span = enter(PLAIN), None
    finally:
        for fd in inputs.values():
            os.close(fd)
    started = Started(talk.pid, master, state, span, entrance.cgroup)
    return _let_run(started, talk, moments.look if looks else None, moments.before)


def _running(context: Context, world_id: str) -> tuple[State, Config, str]:
    """Return state, configuration and state directory of a world that runs, as far as is written.

    Whether its first process is there is seen when it is entered.
    """
    with World.open(context, world_id) as world:
        state = world.read()
        config = stored_config(world)
        owner = world.path
    if state.status != states.RUNNING or (state.cgroup and states.is_frozen(state.cgroup)):
        message = f"container not running: {world_id} is {state.current_status}"
        raise WorldStateError(message, f"substrate-runtime state {world_id}")
    return state, config, owner


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
    started: Started,
    talk: Conversation,
    look: Callable[[State], None] | None,
    before: Callable[[Started], None] | None,
) -> Started:
    is_theirs = False
    try:
        if look is not None and started.state is not None:
            look(started.state)
        if before is not None:
            is_theirs = True
            before(started)
        talk.go()
        talk.wait_for_exec()
    except BaseException:
        end(talk)
        if not is_theirs:
            started.close()
        leave(started, CannotExecuteError.status)
        started.used()
        raise
    talk.close()
    return started


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _bring_in(
    talk: Conversation,
    world: EnteredWorld,
    entrance: Entrance,
    first: tuple[Callable[[], None] | None, Callable[[], None] | None],
    *,
    ahead: bool,
    terminal: bool,
) -> int:
    announce, confirm = first
    try:
        if announce is not None:
            announce()
        if ahead and confirm is None:
            talk.go_ahead()
        if world.forks:
            talk.follow_fork()
        entrance.bring_in(talk.pid)
        return talk.expect_ready(terminal=terminal, confirm=confirm)
    except BaseException:
        end(talk)
        raise


def _raised(descriptors: Mapping[int, int]) -> dict[str, int]:
    """Return duplicates that no number of the program's can overwrite, as the plan's inputs."""
    return {
        f"fd{number}": fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST_INPUT)
        for number, fd in descriptors.items()
    }
