"""The `substrate` object of config.json: its records, and the strict reading of it.

Every key also has an annotation form, see `annotations.py`. Descriptions and defaults for people
are in `schemas/config.schema.json`; a test holds both to the same keys and defaults.
"""

from __future__ import annotations

from substrate.bundle.fields import INT64_MAX, UINT32_MAX
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.fields import Fields

WRITE_MODES = ("layers", "live", "readonly")
ROOTFS_KINDS = ("directory", "host")
NETWORK_MODES = ("none", "filtered", "pinned", "host")
HASH_MODES = ("none", "small", "all")
SECCOMP_MODES = ("enforce", "log")
# The word that asks for no filter at all; a profile of that name cannot exist.
UNCONFINED = "unconfined"
DEFAULT_PROFILE = "default"
LONGEST_S = 366 * 24 * 3600.0
MOST_CPUS = 65536.0


@record
class Project:
    """The directory the payload works on; `path` "." is the caller's directory."""

    path: str = "."
    at: str | None = None
    write: str = "layers"
    deny: tuple[str, ...] = ()
    readonly: tuple[str, ...] = ()
    risky: tuple[str, ...] = ()
    enter: bool = True


@record
class RootfsView:
    """Where the root file system comes from, and what of the host shows in it."""

    kind: str = "directory"
    expose: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()


@record
class Network:
    """What the world may reach; `allowed_domains` None means the mode needs no list."""

    mode: str = "none"
    allowed_domains: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()
    kernel_log: bool = False


@record
class Limits:
    """Budgets of a world; None is no limit. `cpus` is a number of CPUs, as in 1.5."""

    wall_time_s: float | None = None
    egress_bytes: int | None = None
    output_bytes: int | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    open_files: int | None = None
    disk_bytes: int | None = None


@record
class DiffSettings:
    """How much of a change is recorded."""

    hash: str = "small"
    small_file_limit: int = 1 << 20
    max_entries: int = 1000


@record
class SeccompSettings:
    """The named filter; `profile` None is no named filter: `linux.seccomp` decides."""

    profile: str | None = DEFAULT_PROFILE
    mode: str = "enforce"


@record
class SubstrateConfig:
    """The whole `substrate` object."""

    project: Project | None = None
    rootfs: RootfsView = RootfsView()
    network: Network = Network()
    limits: Limits = Limits()
    diff: DiffSettings = DiffSettings()
    seccomp: SeccompSettings = SeccompSettings()
    init: bool = False
    allow_degraded: tuple[str, ...] = ()


def parse_extension(fields: Fields, has_filter: bool, has_netns: bool) -> SubstrateConfig:
    """Read the `substrate` object.

    `has_filter`: `linux.seccomp` is there, which then is the filter. `has_netns`: the world gets
    a network namespace; without one and without a mode the world is on the host's network.
    """
    fields.only(
        (
            "project",
            "rootfs",
            "network",
            "limits",
            "diff",
            "seccomp",
            "init",
            "allowDegraded",
        )
    )
    project = fields.object("project")
    rootfs = fields.object("rootfs")
    limits = fields.object("limits")
    diff = fields.object("diff")
    return SubstrateConfig(
        project=None if project is None else _project(project),
        rootfs=RootfsView() if rootfs is None else _rootfs(rootfs),
        network=_network(fields.object("network"), has_netns),
        limits=Limits() if limits is None else _limits(limits),
        diff=DiffSettings() if diff is None else _diff(diff),
        seccomp=_seccomp(fields.object("seccomp"), has_filter),
        init=fields.flag("init"),
        allow_degraded=fields.texts("allowDegraded"),
    )


def _project(fields: Fields) -> Project:
    fields.only(("path", "at", "write", "deny", "readonly", "risky", "enter"))
    return Project(
        path=fields.optional_text("path") or ".",
        at=fields.optional_text("at"),
        write=fields.word("write", WRITE_MODES, "layers"),
        deny=fields.texts("deny"),
        readonly=fields.texts("readonly"),
        risky=fields.texts("risky"),
        enter=fields.flag("enter", default=True),
    )


def _rootfs(fields: Fields) -> RootfsView:
    fields.only(("kind", "expose", "hide"))
    return RootfsView(
        kind=fields.word("kind", ROOTFS_KINDS, "directory"),
        expose=fields.texts("expose"),
        hide=fields.texts("hide"),
    )


def _network(fields: Fields | None, has_netns: bool) -> Network:
    unasked = "none" if has_netns else "host"
    if fields is None:
        return Network(mode=unasked)
    fields.only(("mode", "allowedDomains", "denied", "kernelLog"))
    allowed = None
    if fields.data.get("allowedDomains") is not None:
        allowed = fields.texts("allowedDomains")
        unasked = "filtered"
    return Network(
        mode=fields.word("mode", NETWORK_MODES, unasked),
        allowed_domains=allowed,
        denied=fields.texts("denied"),
        kernel_log=fields.flag("kernelLog"),
    )


def _limits(fields: Fields) -> Limits:
    fields.only(
        ("wallTime", "egressBytes", "output", "memory", "cpus", "pids", "openFiles", "disk")
    )
    return Limits(
        wall_time_s=fields.optional_number("wallTime", 0.0, LONGEST_S),
        egress_bytes=fields.optional_integer("egressBytes", 0, INT64_MAX),
        output_bytes=fields.optional_integer("output", 0, INT64_MAX),
        memory_bytes=fields.optional_integer("memory", 1, INT64_MAX),
        cpus=fields.optional_number("cpus", 0.0, MOST_CPUS),
        pids=fields.optional_integer("pids", 1, UINT32_MAX),
        open_files=fields.optional_integer("openFiles", 1, UINT32_MAX),
        disk_bytes=fields.optional_integer("disk", 1, INT64_MAX),
    )


def _diff(fields: Fields) -> DiffSettings:
    fields.only(("hash", "smallFileLimit", "maxEntries"))
    plain = DiffSettings()
    limit = fields.optional_integer("smallFileLimit", 0, INT64_MAX)
    entries = fields.optional_integer("maxEntries", 0, UINT32_MAX)
    return DiffSettings(
        hash=fields.word("hash", HASH_MODES, plain.hash),
        small_file_limit=plain.small_file_limit if limit is None else limit,
        max_entries=plain.max_entries if entries is None else entries,
    )


def _seccomp(fields: Fields | None, has_filter: bool) -> SeccompSettings:
    unasked = None if has_filter else DEFAULT_PROFILE
    if fields is None:
        return SeccompSettings(profile=unasked)
    fields.only(("profile", "mode"))
    profile = fields.optional_text("profile") or unasked
    return SeccompSettings(
        profile=None if profile == UNCONFINED else profile,
        mode=fields.word("mode", SECCOMP_MODES, "enforce"),
    )
