"""The list for whoever enters a world that is there already: `exec`, and hooks inside it."""

from __future__ import annotations

from substrate.isolation.conversation import compile_plan
from substrate.isolation.lowering import Lowering, lower_all
from substrate.isolation.payload import NO_DESCRIPTORS, Descriptors, payload_sequence
from substrate.isolation.steps.namespaces import (
    ForkIntoPidNamespace,
    HideFromPtrace,
    JoinNamespaces,
    JoinSessionKeyring,
    JoinWorld,
    ResetSignals,
)
from substrate.isolation.steps.process import (
    CloseDescriptors,
    EnterOldRoot,
    Execute,
    HandOver,
    OpenRoot,
    TakeInput,
    TakeOutput,
    WaitAtGate,
)
from substrate.isolation.steps.spanning import (
    CarryOverlay,
    CheckAtRest,
    JoinMountNamespace,
    MakeSpanOverlay,
    MakeSpanOverlayInside,
    ShowSpanOverlay,
)
from substrate.isolation.steps.staging import PassIntoUserNamespace, SetStage, StageLayers
from substrate.isolation.steps.terminal import OpenTerminal, TakeSession
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.bundle.model import Process
    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import Filter
    from substrate.isolation.steps.spanning import SpanOverlay
    from substrate.kernel.plan import Plan


@record
class EnteredWorld:
    """What of a world decides how it is entered.

    `into_cgroup`: whoever enters begins in the cgroup of the plan's input "cgroup". `overlay`: the
    project is seen through a new layer of one's own. `joins_mounts`: everything is seen as the
    processes of an earlier span do, in the mount namespace of the input "namespace:mount".
    `relays_output`: its output goes to the inputs "stdout" and "stderr" instead of the caller's.
    """

    namespaces: tuple[str, ...]
    may_set_groups: bool = True
    into_cgroup: bool = False
    overlay: SpanOverlay | None = None
    joins_mounts: bool = False
    relays_output: bool = False

    @property
    def forks(self) -> bool:
        """Whether it takes a fork to be in it."""
        return "pid" in self.namespaces or "time" in self.namespaces


# The runtime is ready to pass signals on before the program runs.
_AT_THE_GATE = (WaitAtGate(listening=False),)


def exec_sequence(
    process: Process,
    world: EnteredWorld,
    seccomp: Filter | None,
    descriptors: Descriptors = NO_DESCRIPTORS,
    *,
    path: str | None = None,
    takes_input: bool = False,
) -> Iterator[Step]:
    """Yield the steps that run a further process in a running world.

    `path` is the program when argv[0] is not its name; `takes_input`: standard input is the
    plan's input "stdin" instead of the caller's.
    """
    yield from _join(world)
    yield JoinSessionKeyring()
    yield HandOver()
    # Again: the Python executor hands over by an execve, which made us traceable.
    yield HideFromPtrace()
    if takes_input:
        yield TakeInput()
    if world.relays_output:
        yield TakeOutput()
    if process.terminal:
        yield OpenRoot()
        user = process.user
        yield OpenTerminal(process.console_size, user.uid, user.gid, console=False)
    yield TakeSession(process.terminal)
    yield from payload_sequence(
        process,
        seccomp,
        _AT_THE_GATE,
        descriptors,
        may_set_groups=world.may_set_groups,
        hidden=True,
        path=path,
    )


def exec_plan(
    process: Process, world: EnteredWorld, seccomp: Filter | None, descriptors: Descriptors
) -> Plan:
    """Return the plan of `exec_sequence`, for a process that makes many of them.

    Most is the same for command after command and is written once: all but what is executed.
    """
    if world.overlay is not None:
        # Over other layers every time.
        return compile_plan(exec_sequence(process, world, seccomp, descriptors))
    key = (replace(process, args=(), env=()), world, seccomp, descriptors)
    begun = _begun.get(key)
    if begun is None:
        begun = Lowering()
        lower_all(list(exec_sequence(process, world, seccomp, descriptors))[:-1], begun)
        if len(_begun) >= _MOST_BEGUN:
            _begun.clear()
        _begun[key] = begun
    out = begun.copy()
    lower_all((Execute(process.args, process.env),), out)
    return out.plan.finish()


_MOST_BEGUN = 16
_begun: dict[tuple[Process, EnteredWorld, Filter | None, Descriptors], Lowering] = {}


def hook_sequence(
    world: EnteredWorld, args: tuple[str, ...], env: tuple[str, ...], path: str
) -> Iterator[Step]:
    """Yield the steps that run a program of the host in a world's namespaces, with full rights."""
    yield from _join(world)
    # Joining the mount namespace entered the new root, which already covers "/"; the hook's
    # program and libraries are in the old one.
    yield EnterOldRoot()
    yield HandOver()
    yield TakeInput()
    yield from _AT_THE_GATE
    yield CloseDescriptors(3)
    yield Execute(args, env, path)


def _join(world: EnteredWorld) -> Iterator[Step]:
    overlay = world.overlay
    # The cgroup namespace last: from inside it no process of outside can be brought in.
    apart = {"cgroup"}
    yield ResetSignals()
    # Before the first namespace is joined: from then on the payload can see us (CVE-2016-9962).
    yield HideFromPtrace()
    if overlay is not None:
        # While the host's directories can be reached, and the world's processes cannot see us.
        yield from _make_overlay(overlay)
        if overlay.own_userns:
            apart.add("user")
    if world.joins_mounts:
        apart.add("mount")
    names = tuple(name for name in world.namespaces if name not in apart)
    if overlay is None:
        yield JoinWorld(names)
    else:
        # One by one: from inside the user namespace the world's first process, which may be
        # untraceable, cannot be named any more.
        yield JoinNamespaces(tuple((name, "of the world") for name in names))
    if world.joins_mounts:
        yield JoinMountNamespace()
    if world.forks:
        yield ForkIntoPidNamespace(world.into_cgroup)
    if "cgroup" in world.namespaces:
        yield JoinNamespaces((("cgroup", "of the world"),))
    if overlay is not None:
        yield from _show(overlay)


def mounts_sequence(overlay: SpanOverlay) -> Iterator[Step]:
    """Yield the steps of a process that makes the mount namespace of a span to come, and waits.

    It enters nothing else of the world, whose processes cannot see it.
    """
    yield HideFromPtrace()
    yield from _make_overlay(overlay)
    yield JoinNamespaces((("mount", "of the world"),))
    yield from _show(overlay)
    yield from _AT_THE_GATE


def _show(overlay: SpanOverlay) -> Iterator[Step]:
    yield ShowSpanOverlay(overlay.at)
    if overlay.protected:
        from substrate.isolation.steps.protecting import ProtectPaths

        yield ProtectPaths(overlay.at, overlay.protected, entered=True)


def _make_overlay(overlay: SpanOverlay) -> Iterator[Step]:
    if not overlay.rootful:
        yield JoinWorld(("user",))
        yield MakeSpanOverlayInside(overlay)
        return
    yield SetStage()
    yield StageLayers(overlay.project, overlay.data, overlay.owner is not None)
    if overlay.before:
        yield CheckAtRest(overlay.before)
    yield MakeSpanOverlay(overlay)
    if overlay.own_userns:
        yield PassIntoUserNamespace()
        yield CarryOverlay()
