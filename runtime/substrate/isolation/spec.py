"""WorldSpec: everything the isolation sequence needs, resolved; nothing left to look up.

Made by `resolve.py` from a bundle and the machine. Pure data: printing it, or the steps made
from it, needs no privilege.
"""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config, Device, IdMapping, Process
    from substrate.bundle.mount_options import MountOptions
    from substrate.cgroups.hierarchy import Place
    from substrate.cgroups.limits import Files
    from substrate.cgroups.units import Unit


@record
class Identity:
    """Who the payload is in its user namespace, and who that is outside.

    `idmapped`: the host's files are shown through id-mapped mounts, so that what root owns
    outside is root's inside, although uid 0 inside is a powerless uid outside. `helpers`: the maps
    go through newuidmap and newgidmap. `may_set_groups`: setgroups(2) is allowed in there.
    """

    uid_map: tuple[IdMapping, ...]
    gid_map: tuple[IdMapping, ...]
    setup_uid: int
    setup_gid: int
    may_set_groups: bool = True
    helpers: bool = False
    idmapped: bool = False


@record
class ResolvedMount:
    """One mount. `kind` is "bind", "filesystem" or "remount"; `source` is absolute for a bind."""

    kind: str
    type: str
    source: str
    destination: str
    options: MountOptions
    is_directory: bool = True


@record
class ResolvedProject:
    """The project directory and how it is shown: `write` is layers, live or readonly.

    With layers, `layer` is the directory that holds `upper` and `work`, and `limit_bytes` what the
    world's layers may take; or, where no overlay can be had, a copy, which is `copy` then.
    """

    path: str
    at: str
    write: str
    layer: str | None
    limit_bytes: int | None = None
    copy: str | None = None

    @property
    def bound(self) -> str | None:
        """The directory that is shown as it is, None for an overlay."""
        return self.path if self.layer is None else self.copy


@record
class Degraded:
    """Something the bundle asked for, could not be had, and allowed to be missing."""

    name: str
    reason: str


@record
class Filter:
    """A compiled seccomp filter: an array of struct sock_filter, and flags of seccomp(2)."""

    bpf: bytes
    flags: int


@record
class ResolvedCgroup:
    """Where the world's cgroup is made, and what is written into it.

    `device_program`: the device rules are enforced by a program attached to it. `unit`: systemd
    makes it as this scope. `reachable`: a process can begin in it, without its help.
    """

    place: Place
    files: Files
    device_program: bool
    unit: Unit | None = None
    reachable: bool = True


@record
class WorldSpec:
    """A world as it shall be. `rootful`: made with privilege over the host's namespaces.

    `protected` is what of the project is read-only, relative to it.
    `relays_output`: the payload's output goes to the plan's inputs "stdout" and "stderr".
    """

    config: Config
    process: Process | None
    bundle: str
    rootful: bool
    new_namespaces: tuple[str, ...]
    joined_namespaces: tuple[tuple[str, str], ...]
    identity: Identity | None
    root_path: str | None
    root_readonly: bool
    links: tuple[tuple[str, str], ...]
    mounts: tuple[ResolvedMount, ...]
    devices: tuple[Device, ...]
    bind_devices: tuple[str, ...]
    project: ResolvedProject | None
    masked_paths: tuple[str, ...]
    seccomp: Filter | None
    protected: tuple[str, ...] = ()
    cgroup: ResolvedCgroup | None = None
    init: bool = False
    listening: bool = False
    no_pivot: bool = False
    new_keyring: bool = True
    preserve_fds: int = 0
    relays_output: bool = False
    degraded: tuple[Degraded, ...] = ()

    @property
    def mounts_from_runtime(self) -> bool:
        """Whether the runtime prepares the mounts of host files and sends their descriptors.

        It must when the payload's user is another one outside: neither may it reach every
        source, nor can it make an id-mapped mount of them.
        """
        return self.rootful and "user" in self.new_namespaces

    def maps_uid(self, uid: int) -> bool:
        """Whether the world has this user of the host."""
        return self.identity is None or any(
            line.host_id <= uid < line.host_id + line.size for line in self.identity.uid_map
        )

    @property
    def forks(self) -> bool:
        """Whether the world's first process is a child of the one that is spawned."""
        names = (*self.new_namespaces, *(name for name, _ in self.joined_namespaces))
        return "pid" in names or "time" in names
