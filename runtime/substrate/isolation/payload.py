"""The tail of every sequence: from a process inside its world to the payload's execve.

The same for the first process and for those that `exec` brings in. Every line that could stand
elsewhere says why it stands here.
"""

from __future__ import annotations

from substrate.errors import UnsupportedError
from substrate.isolation.steps.namespaces import HideFromPtrace
from substrate.isolation.steps.process import (
    BecomeUser,
    CloseDescriptors,
    DropBoundingSet,
    EnterDirectory,
    Execute,
    GiveDescriptors,
    LoadSeccomp,
    SetCapabilities,
    SetIoPriority,
    SetNoNewPrivs,
    SetRlimit,
    SetScheduler,
    SetUmask,
)
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.bundle.model import Process
    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import Filter


@record
class Descriptors:
    """What a program has open: so many of the caller's after standard error, and those given.

    `given` are numbers, each from an input of the plan; see `GiveDescriptors`.
    """

    preserved: int = 0
    given: tuple[int, ...] = ()


NO_DESCRIPTORS = Descriptors()


def payload_sequence(
    process: Process,
    seccomp: Filter | None,
    waiting: tuple[Step, ...],
    descriptors: Descriptors,
    *,
    may_set_groups: bool,
    hidden: bool,
    path: str | None = None,
) -> Iterator[Step]:
    """Yield the steps; `waiting` are those that wait for `start`, none in a running world.

    `hidden`: the process must stay untraceable until execve. `path` is the program when argv[0]
    is not its name. Raises `UnsupportedError` for groups that the user namespace denies.
    """
    for limit in process.rlimits:
        yield SetRlimit(limit.type, limit.soft, limit.hard)
    if (priority := process.io_priority) is not None:
        yield SetIoPriority(priority.class_, priority.priority)
    if (scheduler := process.scheduler) is not None:
        yield SetScheduler(
            scheduler.policy, scheduler.flags, scheduler.nice, scheduler.priority,
            scheduler.runtime, scheduler.deadline, scheduler.period,
        )  # fmt: skip
    if seccomp is not None and not process.no_new_privileges:
        # Without no_new_privs a filter needs CAP_SYS_ADMIN, which the next steps drop.
        yield LoadSeccomp(seccomp.bpf, seccomp.flags)
    capabilities = process.capabilities
    # While CAP_SETPCAP is still effective: the change of uid takes it away.
    yield DropBoundingSet(capabilities.bounding if capabilities else ())
    user = process.user
    if user.additional_gids and not may_set_groups:
        message = "supplementary groups cannot be set: the user namespace denies setgroups"
        hint = "remove additionalGids, or map a range of /etc/subgid"
        raise UnsupportedError(message, hint)
    yield BecomeUser(user.uid, user.gid, user.additional_gids, may_set_groups)
    if hidden:
        # The change of user resets it to the sysctl fs.suid_dumpable, which may be 1.
        yield HideFromPtrace()
    # As the payload's user, who must be allowed in there.
    yield EnterDirectory(process.cwd)
    yield SetUmask(0o022 if user.umask is None else user.umask)
    if process.no_new_privileges:
        yield SetNoNewPrivs()
    yield SetCapabilities(
        capabilities.permitted if capabilities else (),
        capabilities.effective if capabilities else (),
        capabilities.inheritable if capabilities else (),
        capabilities.ambient if capabilities else (),
    )
    yield from waiting
    yield CloseDescriptors(3 + descriptors.preserved)
    if descriptors.given:
        # After the rest was marked to be closed: these stay open.
        yield GiveDescriptors(descriptors.given)
    if seccomp is not None and process.no_new_privileges:
        # As late as can be: what came before need not be in the profile.
        yield LoadSeccomp(seccomp.bpf, seccomp.flags)
    yield Execute(process.args, process.env, path)
