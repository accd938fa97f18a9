"""The records of config.json under the OCI's own nouns, and the strict, lean reading of it.

Every type is checked while parsing, so nothing behind this module meets a wrong one; the first
fault ends it. Not here: rules between values (`checks.py`), the list of every problem
(`load.py`). `linux.resources` and `linux.seccomp` stay JSON objects for the rooms that own them.
"""

from __future__ import annotations

from substrate.bundle.extension import (
    DiffSettings,
    Limits,
    Network,
    Project,
    RootfsView,
    SeccompSettings,
    SubstrateConfig,
    parse_extension,
)
from substrate.bundle.fields import INT64_MAX, UINT32_MAX, UINT64_MAX, Fields
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Capabilities",
    "Config",
    "Device",
    "DiffSettings",
    "Hook",
    "Hooks",
    "IdMapping",
    "IoPriority",
    "Limits",
    "Linux",
    "Mount",
    "Namespace",
    "Network",
    "Process",
    "Project",
    "Rlimit",
    "Root",
    "RootfsView",
    "Scheduler",
    "SeccompSettings",
    "SubstrateConfig",
    "User",
    "parse_config",
    "parse_process",
]

NAMESPACE_TYPES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
DEVICE_TYPES = ("c", "b", "p", "u")
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
PERSONALITIES = ("LINUX", "LINUX32")
CLOCKS = ("monotonic", "boottime")
INT32_MAX = (1 << 31) - 1
MODE_MAX = 0o7777


@record
class User:
    """Who the payload is, by numbers; names are not looked up."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None


@record
class Capabilities:
    """The five capability sets, names as in the specification (`CAP_CHOWN`)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@record
class Rlimit:
    """A resource limit; 2**64 - 1 is infinity."""

    type: str
    soft: int
    hard: int


@record
class IoPriority:
    """ioprio_set(2)."""

    class_: str
    priority: int = 0


@record
class Scheduler:
    """sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


@record
class Process:
    """The payload; `console_size` is (height, width)."""

    args: tuple[str, ...]
    cwd: str
    env: tuple[str, ...] = ()
    user: User = User()
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    io_priority: IoPriority | None = None
    scheduler: Scheduler | None = None


@record
class Root:
    """The root file system; a relative path is relative to the bundle."""

    path: str
    readonly: bool = False


@record
class IdMapping:
    """One line of uid_map or gid_map."""

    container_id: int
    host_id: int
    size: int


@record
class Mount:
    """One mount; a relative destination of the file is already made relative to "/"."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@record
class Hook:
    """A program of the engine's; `args` includes argv[0], empty when the file has none."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout_s: int | None = None


@record
class Hooks:
    """Hooks by the point of the lifecycle they belong to."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


@record
class Namespace:
    """A namespace to make, or to join when there is a path."""

    type: str
    path: str | None = None


@record
class Device:
    """A device node to make in the world; type "u" is "c"."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int = 0
    gid: int = 0


@record
class Linux:
    """The `linux` object; `time_offsets` holds (clock, secs, nanosecs)."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    devices: tuple[Device, ...] = ()
    cgroups_path: str | None = None
    resources: dict[str, Any] | None = None
    rootfs_propagation: str | None = None
    seccomp: dict[str, Any] | None = None
    sysctl: tuple[tuple[str, str], ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    personality: str | None = None
    time_offsets: tuple[tuple[str, int, int], ...] = ()

    def namespace(self, type_: str) -> Namespace | None:
        """Return the namespace of that type, None when the world shares the runtime's."""
        for namespace in self.namespaces:
            if namespace.type == type_:
                return namespace
        return None


@record
class Config:
    """The whole of config.json."""

    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = Hooks()
    linux: Linux = Linux()
    annotations: tuple[tuple[str, str], ...] = ()
    substrate: SubstrateConfig | None = None


def parse_config(data: Any, file: str = "config.json") -> Config:
    """Return the records of a configuration.

    `file` is named in the errors. Raises `BundleError` with the JSON path of the first fault.
    """
    fields = Fields(data, "$", file)
    process = fields.object("process")
    root = fields.object("root")
    hooks = fields.object("hooks")
    linux_fields = fields.object("linux")
    linux = Linux() if linux_fields is None else _linux(linux_fields)
    extension = fields.object("substrate")
    return Config(
        oci_version=fields.text("ociVersion"),
        process=None if process is None else _process(process),
        root=None if root is None else Root(root.text("path"), root.flag("readonly")),
        hostname=fields.optional_text("hostname"),
        domainname=fields.optional_text("domainname"),
        mounts=tuple(_mount(mount) for mount in fields.objects("mounts")),
        hooks=Hooks() if hooks is None else _hooks(hooks),
        linux=linux,
        annotations=fields.pairs("annotations"),
        substrate=None
        if extension is None
        else parse_extension(
            extension,
            has_filter=linux.seccomp is not None,
            has_netns=linux.namespace("network") is not None,
        ),
    )


def parse_process(data: Any, where: str = "$.process", file: str = "config.json") -> Process:
    """Return the record of a `process` object; `where` is its JSON path in `file`.

    The file of `exec --process` is such an object by itself: `where="$"`.
    """
    return _process(Fields(data, where, file))


def _process(fields: Fields) -> Process:
    user = fields.object("user")
    terminal = fields.flag("terminal")
    size = _console_size(fields.object("consoleSize"))
    capabilities = fields.object("capabilities")
    io_priority = fields.object("ioPriority")
    scheduler = fields.object("scheduler")
    args = fields.texts("args")
    if not args:
        fields.refuse("args", "the program and its arguments", fields.data.get("args"))
    return Process(
        args=args,
        cwd=fields.text("cwd"),
        env=fields.texts("env"),
        user=User() if user is None else _user(user),
        terminal=terminal,
        # OCI config.md, consoleSize: MUST be ignored without a terminal.
        console_size=size if terminal else None,
        capabilities=None
        if capabilities is None
        else Capabilities(
            bounding=capabilities.texts("bounding"),
            effective=capabilities.texts("effective"),
            inheritable=capabilities.texts("inheritable"),
            permitted=capabilities.texts("permitted"),
            ambient=capabilities.texts("ambient"),
        ),
        rlimits=tuple(
            Rlimit(
                limit.text("type"),
                limit.integer("soft", 0, UINT64_MAX),
                limit.integer("hard", 0, UINT64_MAX),
            )
            for limit in fields.objects("rlimits")
        ),
        no_new_privileges=fields.flag("noNewPrivileges"),
        oom_score_adj=fields.optional_integer("oomScoreAdj", -1000, 1000),
        apparmor_profile=fields.optional_text("apparmorProfile"),
        selinux_label=fields.optional_text("selinuxLabel"),
        io_priority=None
        if io_priority is None
        else IoPriority(
            io_priority.word("class", IO_CLASSES),
            io_priority.optional_integer("priority", 0, 7) or 0,
        ),
        scheduler=None if scheduler is None else _scheduler(scheduler),
    )


def _console_size(fields: Fields | None) -> tuple[int, int] | None:
    if fields is None:
        return None
    return fields.integer("height", 0, UINT32_MAX), fields.integer("width", 0, UINT32_MAX)


def _user(fields: Fields) -> User:
    return User(
        uid=fields.optional_integer("uid", 0, UINT32_MAX) or 0,
        gid=fields.optional_integer("gid", 0, UINT32_MAX) or 0,
        additional_gids=fields.integers("additionalGids", 0, UINT32_MAX),
        umask=fields.optional_integer("umask", 0, MODE_MAX),
    )


def _scheduler(fields: Fields) -> Scheduler:
    return Scheduler(
        policy=fields.text("policy"),
        nice=fields.optional_integer("nice", -20, 19) or 0,
        priority=fields.optional_integer("priority", 0, INT32_MAX) or 0,
        flags=fields.texts("flags"),
        runtime=fields.optional_integer("runtime", 0, UINT64_MAX) or 0,
        deadline=fields.optional_integer("deadline", 0, UINT64_MAX) or 0,
        period=fields.optional_integer("period", 0, UINT64_MAX) or 0,
    )


def _mount(fields: Fields) -> Mount:
    destination = fields.text("destination")
    if not destination.startswith("/"):
        # OCI config.md, mounts: deprecated, but MUST be interpreted as relative to "/".
        destination = "/" + destination
    return Mount(
        destination=destination,
        type=fields.optional_text("type"),
        source=fields.optional_text("source"),
        options=fields.texts("options"),
        uid_mappings=_mappings(fields, "uidMappings"),
        gid_mappings=_mappings(fields, "gidMappings"),
    )


def _mappings(fields: Fields, key: str) -> tuple[IdMapping, ...]:
    return tuple(
        IdMapping(
            mapping.integer("containerID", 0, UINT32_MAX),
            mapping.integer("hostID", 0, UINT32_MAX),
            mapping.integer("size", 0, UINT32_MAX),
        )
        for mapping in fields.objects(key)
    )


def _hooks(fields: Fields) -> Hooks:
    return Hooks(
        prestart=_hook_list(fields, "prestart"),
        create_runtime=_hook_list(fields, "createRuntime"),
        create_container=_hook_list(fields, "createContainer"),
        start_container=_hook_list(fields, "startContainer"),
        poststart=_hook_list(fields, "poststart"),
        poststop=_hook_list(fields, "poststop"),
    )


def _hook_list(fields: Fields, key: str) -> tuple[Hook, ...]:
    return tuple(
        Hook(
            hook.text("path"),
            hook.texts("args"),
            hook.texts("env"),
            hook.optional_integer("timeout", 1, INT32_MAX),
        )
        for hook in fields.objects(key)
    )


def _linux(fields: Fields) -> Linux:
    personality = fields.object("personality")
    return Linux(
        namespaces=tuple(
            Namespace(space.word("type", NAMESPACE_TYPES), space.optional_text("path"))
            for space in fields.objects("namespaces")
        ),
        uid_mappings=_mappings(fields, "uidMappings"),
        gid_mappings=_mappings(fields, "gidMappings"),
        devices=tuple(_device(device) for device in fields.objects("devices")),
        cgroups_path=fields.optional_text("cgroupsPath"),
        resources=fields.raw("resources"),
        rootfs_propagation=fields.optional_text("rootfsPropagation"),
        seccomp=fields.raw("seccomp"),
        sysctl=fields.pairs("sysctl"),
        masked_paths=fields.texts("maskedPaths"),
        readonly_paths=fields.texts("readonlyPaths"),
        mount_label=fields.optional_text("mountLabel"),
        personality=None if personality is None else personality.word("domain", PERSONALITIES),
        time_offsets=_time_offsets(fields.object("timeOffsets")),
    )


def _device(fields: Fields) -> Device:
    return Device(
        path=fields.text("path"),
        type=fields.word("type", DEVICE_TYPES),
        major=fields.optional_integer("major", 0, UINT32_MAX) or 0,
        minor=fields.optional_integer("minor", 0, UINT32_MAX) or 0,
        file_mode=fields.optional_integer("fileMode", 0, UINT32_MAX),
        uid=fields.optional_integer("uid", 0, UINT32_MAX) or 0,
        gid=fields.optional_integer("gid", 0, UINT32_MAX) or 0,
    )


def _time_offsets(fields: Fields | None) -> tuple[tuple[str, int, int], ...]:
    if fields is None:
        return ()
    fields.only(CLOCKS)
    offsets = []
    for clock in fields.data:
        offset = fields.object(clock)
        if offset is not None:
            secs = offset.optional_integer("secs", -INT64_MAX - 1, INT64_MAX) or 0
            nanosecs = offset.optional_integer("nanosecs", 0, 999_999_999) or 0
            offsets.append((clock, secs, nanosecs))
    return tuple(offsets)
