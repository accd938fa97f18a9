"""The list for whoever enters a world that is there already: `exec`, and hooks inside it."""

from __future__ import annotations

from substrate.isolation.payload import payload_sequence
from substrate.isolation.steps.namespaces import (
    ForkIntoPidNamespace,
    HideFromPtrace,
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
    WaitAtGate,
)
from substrate.isolation.steps.terminal import OpenTerminal, TakeSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.bundle.model import Process
    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import Filter


# The runtime is ready to pass signals on before the program runs.
_AT_THE_GATE = (WaitAtGate(listening=False),)


def exec_sequence(
    process: Process,
    namespaces: tuple[str, ...],
    may_set_groups: bool,
    seccomp: Filter | None,
    preserve_fds: int = 0,
    *,
    path: str | None = None,
    takes_input: bool = False,
) -> Iterator[Step]:
    """Yield the steps that run a further process in a running world.

    `path` is the program when argv[0] is not its name; `takes_input`: standard input is the
    plan's input "stdin" instead of the caller's.
    """
    yield from _join(namespaces)
    yield JoinSessionKeyring()
    yield HandOver()
    # Again: the Python executor hands over by an execve, which made us traceable.
    yield HideFromPtrace()
    if takes_input:
        yield TakeInput()
    if process.terminal:
        yield OpenRoot()
        user = process.user
        yield OpenTerminal(process.console_size, user.uid, user.gid, console=False)
    yield TakeSession(process.terminal)
    yield from payload_sequence(
        process, seccomp, _AT_THE_GATE, preserve_fds, may_set_groups=may_set_groups, hidden=True,
        path=path,
    )  # fmt: skip


def hook_sequence(
    namespaces: tuple[str, ...], args: tuple[str, ...], env: tuple[str, ...], path: str
) -> Iterator[Step]:
    """Yield the steps that run a program of the host in a world's namespaces, with full rights."""
    yield from _join(namespaces)
    # Joining the mount namespace entered the new root, which already covers "/"; the hook's
    # program and libraries are in the old one.
    yield EnterOldRoot()
    yield HandOver()
    yield TakeInput()
    yield from _AT_THE_GATE
    yield CloseDescriptors(3)
    yield Execute(args, env, path)


def _join(namespaces: tuple[str, ...]) -> Iterator[Step]:
    yield ResetSignals()
    # Before the first namespace is joined: from then on the payload can see us (CVE-2016-9962).
    yield HideFromPtrace()
    yield JoinWorld(namespaces)
    if "pid" in namespaces or "time" in namespaces:
        yield ForkIntoPidNamespace()
