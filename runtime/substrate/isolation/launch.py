"""The runtime's side: spawn the plan's process, answer it, and undo everything if it fails.

The runtime itself enters no namespace and makes no mount that anybody could see.
"""

from __future__ import annotations

import os

from substrate.errors import StepError, UnsupportedError
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.sequence import create_sequence, has_creation_hooks
from substrate.isolation.staging import stage_mounts
from substrate.kernel import messages, procfs
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.isolation.spec import Identity, WorldSpec
    from substrate.isolation.timing import Durations
    from substrate.kernel.plan import Plan


@record
class Launched:
    """A world at its gate: `master_fd` is the pty master or -1; both are the caller's.

    `unmapped` are the sources that show as nobody's, see `steps/staging.py`.
    """

    talk: Conversation
    master_fd: int
    unmapped: tuple[str, ...]


@record
class Events:
    """What the caller does on the way.

    `on_pid` with the world's first pid, before anything is made that outlives the runtime;
    `on_mounted` where the creation hooks belong.
    """

    on_pid: Callable[[int], None]
    on_mounted: Callable[[], None]


def launch(
    spec: WorldSpec,
    inputs: dict[str, int],
    executor: str,
    events: Events,
    on_timings: Callable[[Durations], None] | None = None,
) -> Launched:
    """Make the world up to its gate.

    `on_timings` gets the duration of each step, of a failed launch too. On failure the process
    is killed and reaped, and the error raised.
    """
    if on_timings is None:
        return _launch(spec, compile_plan(create_sequence(spec)), inputs, executor, events)
    from substrate.isolation.timing import INPUT, Timings

    plan = compile_plan(create_sequence(spec), timed=True)
    with Timings() as timings:
        try:
            return _launch(spec, plan, inputs | {INPUT: timings.fd}, executor, events)
        finally:
            on_timings(timings.read(plan.steps))


def _launch(
    spec: WorldSpec, plan: Plan, inputs: dict[str, int], executor: str, events: Events
) -> Launched:
    talk = Conversation(plan, inputs, executor, spec.preserve_fds)
    unmapped: list[str] = []
    try:
        if "user" in spec.new_namespaces:
            talk.expect(messages.USER)
            unmapped = _give_identity(spec, talk, executor)
        if spec.forks:
            talk.follow_fork()
        events.on_pid(talk.pid)
        _set_oom_score(spec, talk.pid)
        talk.go()
        if has_creation_hooks(spec):
            talk.expect(messages.MOUNTED)
            events.on_mounted()
            talk.go()
        process = spec.process
        master = talk.expect_ready(terminal=process is not None and process.terminal)
    except BaseException:
        end(talk)
        raise
    return Launched(talk, master, tuple(unmapped))


def _give_identity(spec: WorldSpec, talk: Conversation, executor: str) -> list[str]:
    """Write the id maps and send the mounts; return the sources that could not be id-mapped."""
    if spec.identity is None:
        message = "the user namespace has no id maps"
        raise StepError(message)
    write_id_maps(talk.pid, spec.identity)
    if not spec.mounts_from_runtime:
        talk.go()
        return []
    userns_fd = os.open(f"/proc/{talk.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mounts, unmapped = stage_mounts(spec, userns_fd, executor)
    finally:
        os.close(userns_fd)
    try:
        talk.go(mounts)
    finally:
        # What has not been attached by then goes away with its descriptor.
        for fd in mounts:
            os.close(fd)
    return unmapped


def write_id_maps(pid: int, identity: Identity) -> None:
    """Write the id maps of a new user namespace."""
    uid_map = [(line.container_id, line.host_id, line.size) for line in identity.uid_map]
    gid_map = [(line.container_id, line.host_id, line.size) for line in identity.gid_map]
    try:
        if identity.helpers:
            from substrate.kernel.tools import write_maps_as_allowed

            write_maps_as_allowed(pid, uid_map, gid_map)
            return
        if not identity.may_set_groups:
            # Demanded before an unprivileged gid map; user_namespaces(7).
            procfs.write_process_file(pid, "setgroups", "deny")
        procfs.write_process_file(pid, "uid_map", procfs.map_lines(uid_map))
        procfs.write_process_file(pid, "gid_map", procfs.map_lines(gid_map))
    except OSError as error:
        message = f"cannot write the id maps: {error.strerror}"
        hint = "an ordinary user may map the ids of /etc/subuid and /etc/subgid"
        raise StepError(message, hint, error.errno or 0) from None


def _set_oom_score(spec: WorldSpec, pid: int) -> None:
    process = spec.process
    if process is None or process.oom_score_adj is None:
        return
    try:
        procfs.write_process_file(pid, "oom_score_adj", str(process.oom_score_adj))
    except PermissionError:
        message = f"cannot set oomScoreAdj to {process.oom_score_adj}: permission denied"
        hint = "lowering it needs CAP_SYS_RESOURCE; remove $.process.oomScoreAdj"
        raise UnsupportedError(message, hint) from None
