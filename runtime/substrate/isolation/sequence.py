"""THE list: what happens between the spawn of a process and the payload's execve, in order.

Every line that could stand elsewhere says why it stands here. The order is common to runc, crun
and youki where they agree. Steps are data: the same list is the plan that runs, the text of
`substrate-runtime plan`, the golden files of the tests and the words of every error.
"""

from __future__ import annotations

from substrate.isolation.payload import Descriptors, payload_sequence
from substrate.isolation.staging import staged_mounts
from substrate.isolation.steps.devices import (
    BindDevice,
    LinkDevices,
    MakeDevice,
)
from substrate.isolation.steps.mounts import (
    AttachDirectoryRoot,
    AttachSkeletonRoot,
    BindMount,
    FilesystemMount,
    MakeDirectory,
    MakeSymlink,
    PivotRoot,
    ReadOnlyRoot,
    RemountAttributes,
    SetPropagation,
)
from substrate.isolation.steps.namespaces import (
    AwaitRuntime,
    BecomeMapped,
    ForkIntoPidNamespace,
    HideFromPtrace,
    JoinNamespaces,
    JoinSessionKeyring,
    ResetSignals,
    SetTimeOffsets,
    Unshare,
)
from substrate.isolation.steps.paths import MaskPaths, ReadOnlyPaths
from substrate.isolation.steps.process import (
    DropBoundingSet,
    EnterDirectory,
    HandOver,
    LeaveReaper,
    SetCapabilities,
    SetNoNewPrivs,
    SetPersonality,
    TakeOutput,
    WaitAtGate,
)
from substrate.isolation.steps.project import ProjectOverlay
from substrate.isolation.steps.settings import (
    RaiseLoopback,
    SetDomainname,
    SetHostname,
    WriteSysctl,
)
from substrate.isolation.steps.terminal import OpenTerminal, TakeSession
from substrate.kernel import messages
from substrate.kernel.constants import Ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import ResolvedMount, WorldSpec

# Whoever makes these is not in them itself: only its children are.
_BEFORE_FORK = ("pid", "time")
_EARLY = ("user", *_BEFORE_FORK)

PROPAGATIONS = {
    "private": Ms.PRIVATE,
    "rprivate": Ms.PRIVATE | Ms.REC,
    "slave": Ms.SLAVE,
    "rslave": Ms.SLAVE | Ms.REC,
    "shared": Ms.SHARED,
    "rshared": Ms.SHARED | Ms.REC,
    "unbindable": Ms.UNBINDABLE,
    "runbindable": Ms.UNBINDABLE | Ms.REC,
}


def create_sequence(spec: WorldSpec) -> Iterator[Step]:
    """Yield the steps that make a world and start its payload."""
    yield ResetSignals()
    yield from _namespaces(spec)
    yield from _file_systems(spec)
    # The hooks' contract: mounts done, the old root still there to find their programs in.
    if has_creation_hooks(spec):
        yield AwaitRuntime(messages.MOUNTED, "run the hooks")
    yield from _settings(spec)
    process = spec.process
    if process is not None and process.terminal:
        # After devpts is mounted; before pivot_root, while /dev/console can still be bound.
        user = process.user
        yield OpenTerminal(process.console_size, user.uid, user.gid, console=True)
    # Before the masks, which lie over whatever else is mounted.
    if spec.protected and spec.project is not None:
        from substrate.isolation.steps.protecting import ProtectPaths

        yield ProtectPaths(spec.project.at, spec.protected, entered=False)
    # After the sysctls: /proc/sys is one of the paths.
    yield MaskPaths(spec.masked_paths)
    yield ReadOnlyPaths(spec.config.linux.readonly_paths)
    # After every mount target was made in it.
    if spec.root_readonly:
        yield ReadOnlyRoot()
    linux = spec.config.linux
    yield PivotRoot(not spec.no_pivot, PROPAGATIONS.get(linux.rootfs_propagation or "", 0))
    yield HandOver()
    if spec.relays_output:
        yield TakeOutput()
    # Company in a user namespace that was joined could trace us where it is the same user: without
    # capabilities and, at the gate, still without a filter. A new one of an ordinary user stays
    # traceable: only its own payload is in it, and the runtime enters it by this process.
    hidden = spec.rootful or any(name == "user" for name, _ in spec.joined_namespaces)
    if hidden:
        yield HideFromPtrace()
    if process is None:
        yield from _nobody(spec)
    else:
        # With an init, the terminal is the payload's: see `gate`.
        yield TakeSession(process.terminal and not spec.init)
        if linux.personality is not None:
            yield SetPersonality(linux.personality)
        identity = spec.identity
        yield from payload_sequence(
            process, spec.seccomp, gate(spec), Descriptors(spec.preserve_fds),
            may_set_groups=identity is None or identity.may_set_groups, hidden=hidden,
        )  # fmt: skip


def has_creation_hooks(spec: WorldSpec) -> bool:
    """Whether hooks run between the mounts and pivot_root."""
    hooks = spec.config.hooks
    return bool(hooks.prestart or hooks.create_runtime or hooks.create_container)


def gate(spec: WorldSpec) -> tuple[Step, ...]:
    """Return the steps that wait for `start`, and leave an init behind if there is one."""
    steps: tuple[Step, ...] = (WaitAtGate(spec.listening),)
    if spec.init:
        # After the gate: the runtime talks to one process only.
        process = spec.process
        steps += (LeaveReaper(has_payload=process is not None),)
        if process is not None:
            # Of its own: what the terminal sends to the payload's group, the init would send again.
            steps += (TakeSession(process.terminal),)
    return steps


def _namespaces(spec: WorldSpec) -> Iterator[Step]:
    # Nothing hostile runs in a new world yet, but a namespace that is joined may have company.
    # Without privilege it must wait: a non-dumpable process's id maps are root's to write.
    if spec.rootful:
        yield HideFromPtrace()
    if spec.joined_namespaces:
        yield JoinNamespaces(spec.joined_namespaces)
    # The user namespace owns every namespace made after it.
    if "user" in spec.new_namespaces:
        yield Unshare(("user",))
        yield AwaitRuntime(messages.USER, "write the id maps", staged_mounts(spec))
    early = tuple(name for name in spec.new_namespaces if name in _BEFORE_FORK)
    if early:
        yield Unshare(early)
    if "time" in early and spec.config.linux.time_offsets:
        # Before the first process enters; time_namespaces(7).
        yield SetTimeOffsets(spec.config.linux.time_offsets)
    if spec.forks:
        # Still as the caller: another user could not be put into a cgroup of the caller's.
        # A fork that is refused there leaves a pid namespace in which there can be no second one.
        yield ForkIntoPidNamespace(spec.cgroup is not None and spec.cgroup.reachable)
    # From here on the state on disk names this process, so `delete` can end it.
    yield AwaitRuntime(b"", "record the process")
    if spec.identity is not None:
        # Not the payload's user yet: the one that may mount, id 0 inside where it is mapped.
        identity = spec.identity
        yield BecomeMapped(identity.setup_uid, identity.setup_gid, identity.may_set_groups)
    # The cgroup namespace among them: its root is the cgroup the process is in by now.
    yield Unshare(tuple(name for name in spec.new_namespaces if name not in _EARLY))
    if spec.new_keyring:
        yield JoinSessionKeyring()


def _file_systems(spec: WorldSpec) -> Iterator[Step]:
    # Private before the first mount, or our mounts appear on the host.
    yield SetPropagation(Ms.REC | (Ms.SLAVE if _wants_propagation(spec) else Ms.PRIVATE))
    if spec.root_path is None:
        yield AttachSkeletonRoot()
    else:
        # Devices are made in the world's own /dev; a node in the image could be any disk.
        nodev = any(mount.destination == "/dev" for mount in spec.mounts) and all(
            device.path.startswith("/dev/") for device in spec.devices
        )
        yield AttachDirectoryRoot(spec.root_path, spec.mounts_from_runtime, nodev)
    for path, target in spec.links:
        yield MakeSymlink(path, target)
    for number, mount in enumerate(spec.mounts):
        yield _mount(spec, number, mount)
    # After the mounts: /dev is one of them.
    for path in spec.bind_devices:
        yield BindDevice(path)
    for device in spec.devices:
        yield MakeDevice(device)
    if any(mount.destination == "/dev" for mount in spec.mounts):
        yield LinkDevices()
    # Last, so that nothing of the bundle is mounted over it.
    if spec.project is not None:
        yield ProjectOverlay(spec.project, spec.rootful, spec.mounts_from_runtime)
    if spec.process is not None and spec.root_path is not None and not spec.root_readonly:
        yield MakeDirectory(spec.process.cwd)


def _mount(spec: WorldSpec, number: int, mount: ResolvedMount) -> Step:
    if mount.kind == "remount":
        return RemountAttributes(mount.destination, mount.options)
    if mount.kind == "filesystem":
        return FilesystemMount(mount.type, mount.source, mount.destination, mount.options)
    name = str(number) if spec.mounts_from_runtime else None
    return BindMount(mount.source, mount.destination, mount.options, mount.is_directory, name)


def _settings(spec: WorldSpec) -> Iterator[Step]:
    # Through the procfs just mounted, before its paths are made read-only.
    for key, value in spec.config.linux.sysctl:
        yield WriteSysctl(key, value)
    if spec.config.hostname:
        yield SetHostname(spec.config.hostname)
    if spec.config.domainname:
        yield SetDomainname(spec.config.domainname)
    if "network" in spec.new_namespaces:
        yield RaiseLoopback()


def _nobody(spec: WorldSpec) -> Iterator[Step]:
    """Yield the tail for a world without a process: the init only reaps."""
    yield TakeSession(terminal=False)
    yield DropBoundingSet(())
    yield EnterDirectory("/")
    yield SetNoNewPrivs()
    yield SetCapabilities((), (), (), ())
    yield from gate(spec)


def _wants_propagation(spec: WorldSpec) -> bool:
    """Whether something of the bundle has to hear of the host's later mounts."""
    if spec.config.linux.rootfs_propagation not in (None, "private", "rprivate"):
        return True
    return any(mount.options.propagation & (Ms.SHARED | Ms.SLAVE) for mount in spec.mounts)
