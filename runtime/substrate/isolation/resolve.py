"""From a bundle and this machine to a `WorldSpec`: every path absolute, every choice made.

Nothing is changed on the way, and no privilege is needed; `substrate-runtime plan` ends here.
What the bundle asks for and cannot be had is an error, or an entry in `degraded` when the bundle
allows it by name.
"""

from __future__ import annotations

import os

from substrate.bundle.degradable import OUTPUT_LIMIT, OVERLAY
from substrate.bundle.model import Rlimit
from substrate.bundle.mount_options import parse_mount_options
from substrate.errors import BundleError, RefusedError, UnsupportedError
from substrate.filesystem.layers import COPY, nested_mounts
from substrate.isolation import unlocked
from substrate.isolation.hostview import host_view
from substrate.isolation.identity import HOST_UID_0, choose_identity, with_user
from substrate.isolation.limiting import limit_layers, resolve_cgroup
from substrate.isolation.spec import (
    Degraded,
    Filter,
    ResolvedMount,
    ResolvedProject,
    WorldSpec,
)
from substrate.isolation.steps.devices import DEFAULT_DEVICES
from substrate.isolation.unlocked import has_unlocked_mounts
from substrate.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.bundle.model import Config, Device, Mount, Process, SubstrateConfig

OUTPUT_REASON = (
    "the limit output counts what is relayed: a world that is detached, or made by `create`, has"
    " the caller's own streams"
)
# Always made or linked by the runtime; an entry of linux.devices for one of them adds nothing.
_CGROUPS = "/sys/fs/cgroup"
_OWN_DEVICES = frozenset(
    (*(f"/dev/{name}" for name in DEFAULT_DEVICES), "/dev/ptmx", "/dev/console")
)

# Where engines connect the network of a container.
_HOOKS_OF_NETWORKS = ("prestart", "create_runtime", "create_container", "poststart")


@record
class Demand:
    """What the caller says beyond the bundle.

    `attended`: the caller stays with the world to its end and can relay its output. `copied`: why
    the world gets a copy of its project, "" for layers.
    """

    world_id: str
    bundle: str
    layer: str | None = None
    project: str | None = None
    user_given: bool = False
    cwd_given: bool = False
    listening: bool = False
    attended: bool = False
    no_pivot: bool = False
    new_keyring: bool = True
    preserve_fds: int = 0
    no_cgroups: bool = False
    by_systemd: bool = False
    cgroup_name: str = ""
    allow_degraded: tuple[str, ...] = ()
    host_ids: bool = False
    copied: str = ""


class _Losses:
    """What cannot be had: an error, or recorded when it may be missing."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self.found: list[Degraded] = []

    def lose(self, name: str, reason: str) -> None:
        """Record the loss; raises `UnsupportedError` unless the bundle allows it."""
        # Whoever allows cgroups to be missing allows each controller to be.
        if name not in self._allowed and name.partition(".")[0] not in self._allowed:
            hint = f"accept it with --allow-degraded {name}, or in substrate.allowDegraded"
            raise UnsupportedError(reason, hint)
        self.note(name, reason)

    def note(self, name: str, reason: str) -> None:
        """Record something that is missing by the specification's own leave."""
        self.found.append(Degraded(name, reason))


def resolve(
    config: Config, process: Process | None, demand: Demand, seccomp: Filter | None,
    *, privileged: bool,
) -> WorldSpec:  # fmt: skip
    """Return the world that bundle and caller ask for.

    Raises `BundleError`, `UnsupportedError` or `RefusedError`.
    """
    extension = config.substrate
    losses = _Losses(
        demand.allow_degraded + (extension.allow_degraded if extension is not None else ())
    )
    cgroup = None
    if not demand.no_cgroups:
        cgroup = resolve_cgroup(
            config, demand.cgroup_name or demand.world_id, losses.lose, privileged=privileged,
            by_systemd=demand.by_systemd,
        )  # fmt: skip
    _check_unavailable(config, process, losses, has_cgroup=cgroup is not None)
    relays_output = _relays_output(extension, process, demand, losses)
    if has_unlocked_mounts(config, process, privileged=privileged):
        losses.lose(unlocked.NAME, unlocked.REASON)
    project = limit_layers(_resolve_project(config, demand, losses), extension, losses.lose)
    identity, user = choose_identity(
        config, demand.world_id, None if project is None else project.path,
        privileged=privileged, host_ids=demand.host_ids,
    )  # fmt: skip
    if identity is not None and user is not None and identity.uid_map[0].host_id == 0:
        losses.lose(HOST_UID_0, "uid 0 in the world is uid 0 of the host")
    process = with_user(_with_open_files(process, extension), user, asked=demand.user_given)
    namespaces = config.linux.namespaces
    root_path, links, host_mounts, hidden = _resolve_root(config, demand.bundle)
    own_userns = any(entry.type == "user" for entry in namespaces)
    return WorldSpec(
        config=config,
        process=_started_in_project(process, project, extension, demand),
        bundle=demand.bundle,
        rootful=privileged,
        new_namespaces=tuple(entry.type for entry in namespaces if entry.path is None),
        joined_namespaces=_joined(config),
        identity=identity,
        root_path=root_path,
        root_readonly=root_path is None or bool(config.root and config.root.readonly),
        links=tuple(links),
        mounts=(*host_mounts, *(_resolve_mount(config, demand.bundle, m) for m in config.mounts)),
        devices=_own_devices(config, own_userns=own_userns),
        bind_devices=_bound_devices(config, own_userns=own_userns),
        project=project,
        masked_paths=config.linux.masked_paths + hidden + _denied(config, project),
        protected=_protected(config, project),
        seccomp=seccomp,
        cgroup=cgroup,
        init=extension is not None and extension.init,
        listening=demand.listening,
        no_pivot=demand.no_pivot,
        new_keyring=demand.new_keyring,
        preserve_fds=demand.preserve_fds,
        relays_output=relays_output,
        degraded=tuple(losses.found),
    )


def _relays_output(
    extension: SubstrateConfig | None, process: Process | None, demand: Demand, losses: _Losses
) -> bool:
    """Whether the payload's output goes through pipes; a terminal is relayed in any case."""
    if extension is None or extension.limits.output_bytes is None:
        return False
    if not demand.attended:
        losses.lose(OUTPUT_LIMIT, OUTPUT_REASON)
    return demand.attended and process is not None and not process.terminal


def _check_unavailable(
    config: Config, process: Process | None, losses: _Losses, *, has_cgroup: bool
) -> None:
    linux, extension = config.linux, config.substrate
    if linux.namespace("mount") is None:
        raise BundleError(
            ["config.json: $.linux.namespaces: expected a mount namespace, got none"],
            'add {"type": "mount"}',
        )
    if extension is not None and extension.limits.egress_bytes is not None:
        _check_egress(config, losses)
    if not has_cgroup and _needs_device_filter(config, process):
        losses.lose(
            "device-rules",
            "the device rules of linux.resources need a cgroup: without one, CAP_MKNOD and no user"
            " namespace let the world make any device",
        )
    pid = linux.namespace("pid")
    if not has_cgroup and (pid is None or pid.path is not None):
        losses.lose(
            "cgroup",
            "without a pid namespace of its own a world needs a cgroup to be ended as a whole",
        )
    if extension is not None and extension.network.mode in ("filtered", "pinned"):
        losses.lose(
            "network", "filtered networks are not available yet; the world gets no network at all"
        )
    if process is not None and (lost := _ambient_that_cannot_be(process)):
        # runc's own `spec` asks for this; the kernel refuses it, so it is what runc gives too.
        names = ", ".join(lost)
        losses.note("ambient-capabilities", f"not inheritable, so they cannot be ambient: {names}")
    if linux.mount_label or (process is not None and process.selinux_label):
        _check_label(losses, "selinux", "/sys/fs/selinux/enforce", "SELinux labels")
    if process is not None and process.apparmor_profile:
        _check_label(losses, "apparmor", "/sys/kernel/security/apparmor", "the AppArmor profile")


def _check_label(losses: _Losses, name: str, sign: str, what: str) -> None:
    if os.path.exists(sign):
        losses.lose(name, f"{what} cannot be set by this version")
    else:
        losses.note(name, f"{what} has no effect: this host does not run {name}")


def _check_egress(config: Config, losses: _Losses) -> None:
    """Nothing is sent from a network that has only a loopback interface: any limit holds there."""
    network = config.linux.namespace("network")
    if network is None or network.path is not None:
        losses.lose(
            "limit.egressBytes",
            "the limit egressBytes cannot be enforced in a network that is not the world's own",
        )
    elif any(getattr(config.hooks, name) for name in _HOOKS_OF_NETWORKS):
        losses.lose(
            "limit.egressBytes",
            "the limit egressBytes cannot be enforced in a network that hooks may connect",
        )


def _ambient_that_cannot_be(process: Process) -> tuple[str, ...]:
    """Return the ambient capabilities that are not permitted and inheritable; capabilities(7)."""
    sets = process.capabilities
    if sets is None:
        return ()
    possible = set(sets.permitted).intersection(sets.inheritable)
    return tuple(name for name in sets.ambient if name not in possible)


def _needs_device_filter(config: Config, process: Process | None) -> bool:
    """Whether nothing else keeps the world from the devices its bundle denies."""
    rules = (config.linux.resources or {}).get("devices") or ()
    capabilities = process.capabilities if process is not None else None
    return (
        any(not rule.get("allow") for rule in rules)
        and config.linux.namespace("user") is None
        and capabilities is not None
        and "CAP_MKNOD" in capabilities.bounding
    )


def _joined(config: Config) -> tuple[tuple[str, str], ...]:
    entries = [
        (entry.type, entry.path) for entry in config.linux.namespaces if entry.path is not None
    ]
    # The user namespace first: its rights are needed for the others.
    return tuple(sorted(entries, key=lambda entry: entry[0] != "user"))


def _resolve_root(
    config: Config, bundle: str
) -> tuple[str | None, list[tuple[str, str]], list[ResolvedMount], tuple[str, ...]]:
    extension = config.substrate
    if extension is not None and extension.rootfs.kind == "host":
        view = extension.rootfs
        links, mounts = host_view(view.expose, view.hide)
        return None, links, mounts, view.hide
    if config.root is None:
        raise BundleError(["config.json: $.root: expected the root file system, got nothing"])
    path = os.path.join(bundle, config.root.path)
    if not os.path.isdir(path):
        raise BundleError(
            [f'config.json: $.root.path: expected a directory, got "{path}", which is none'],
            "make the root file system first; see the bundle's README",
        )
    path = os.path.realpath(path)
    if path == "/":
        message = "config.json: $.root.path: the host's own root cannot be a world's root"
        raise RefusedError(message, 'show it read-only with substrate.rootfs.kind "host"')
    for mount in config.mounts:
        _refuse_escape(path, mount.destination)
    return path, [], [], ()


def _refuse_escape(root: str, destination: str) -> None:
    """Refuse a mount target that a symlink of the image leads out of the root.

    The kernel would keep the mount inside (RESOLVE_IN_ROOT) and so put it where nobody meant it.
    """
    depth, here = 0, root
    pending = [name for name in destination.split("/") if name not in ("", ".")][::-1]
    for _ in range(255):
        if not pending:
            return
        name = pending.pop()
        depth, here = (depth - 1, os.path.dirname(here)) if name == ".." else (
            depth + 1, f"{here}/{name}")  # fmt: skip
        if depth < 0:
            break
        if os.path.islink(here):
            target = os.readlink(here)
            depth, here = (0, root) if target.startswith("/") else (
                depth - 1, os.path.dirname(here))  # fmt: skip
            pending += [part for part in target.split("/") if part not in ("", ".")][::-1]
    message = f"mount target {destination} leads out of the root file system by a symbolic link"
    raise RefusedError(message, f"remove the link below {root}")


def _resolve_mount(config: Config, bundle: str, mount: Mount) -> ResolvedMount:
    where = f"config.json: mount on {mount.destination}"
    options = parse_mount_options(mount.options, mount.type, where)
    destination = os.path.normpath(mount.destination)
    type_ = mount.type or ""
    if options.copy_up:
        message = f"{where}: tmpcopyup is not supported"
        raise UnsupportedError(message, "remove the option, or make the content in a hook")
    if options.idmap or mount.uid_mappings:
        message = f"{where}: id-mapped mounts of a bundle are not supported"
        raise UnsupportedError(message, "a world of root's shows host files with its own ids")
    if options.remount:
        return ResolvedMount("remount", type_, "", destination, options)
    if not options.bind:
        if not type_:
            raise BundleError([f"{where}: expected a type or the option bind, got neither"])
        if type_ == "cgroup":
            # It means the hierarchy that the host has. Without a cgroup namespace of its own a
            # world cannot mount it, only be shown the host's.
            if config.linux.namespace("cgroup") is None:
                # `ro` then has to mean all of it: hybrid hosts mount each controller below.
                flags = options.flags_set
                shown = replace(options, bind=True, recursive_bind=True, recursive_set=flags)
                return ResolvedMount("bind", "bind", _CGROUPS, destination, shown)
            type_ = "cgroup2"
        return ResolvedMount("filesystem", type_, mount.source or "", destination, options)
    if mount.source is None:
        raise BundleError([f"{where}: expected a source to bind, got none"])
    source = os.path.join(bundle, mount.source)
    if not os.path.exists(source):
        raise BundleError([f"{where}: expected a source that exists, got {source}"])
    source = os.path.realpath(source)
    return ResolvedMount("bind", "bind", source, destination, options, os.path.isdir(source))


def _bound_devices(config: Config, *, own_userns: bool) -> tuple[str, ...]:
    if not any(mount.destination == "/dev" and mount.type == "tmpfs" for mount in config.mounts):
        return ()
    paths = [f"/dev/{name}" for name in DEFAULT_DEVICES]
    if own_userns:
        paths += [
            device.path
            for device in config.linux.devices
            if device.type != "p" and device.path not in _OWN_DEVICES
        ]
    return tuple(paths)


def _own_devices(config: Config, *, own_userns: bool) -> tuple[Device, ...]:
    """Return the nodes to make: all that can be made in a user namespace are FIFOs."""
    return tuple(
        device
        for device in config.linux.devices
        if device.path not in _OWN_DEVICES and (device.type == "p" or not own_userns)
    )


def _resolve_project(config: Config, demand: Demand, losses: _Losses) -> ResolvedProject | None:
    extension = config.substrate
    if extension is None or extension.project is None:
        if demand.project is not None:
            message = "--project is given, but the bundle has no project"
            raise UnsupportedError(message, 'add "project": {} to $.substrate in config.json')
        return None
    asked = demand.project or extension.project.path
    path = os.path.realpath(os.path.join(demand.bundle, asked) if asked != "." else os.getcwd())
    if not os.path.isdir(path):
        raise BundleError([f"the project {path} is not a directory"], "use --project DIR")
    at = extension.project.at or path
    if path == "/" or at == "/":
        message = "the whole root directory cannot be a project"
        raise RefusedError(message, "use --project DIR")
    layered = extension.project.write == "layers"
    if layered:
        _refuse_nested_mounts(path)
    layer = demand.layer if layered else None
    project = ResolvedProject(path, at, extension.project.write, layer)
    if not demand.copied or layer is None:
        return project
    losses.lose(OVERLAY, demand.copied)
    return replace(project, copy=os.path.join(layer, COPY))


def _refuse_nested_mounts(path: str) -> None:
    nested = nested_mounts(path)
    if nested:
        message = f"the project {path} has another file system mounted in it: {nested[0]}"
        hint = "an overlay would show that part empty; unmount it, or choose a deeper project"
        raise RefusedError(message, hint)


def _with_open_files(process: Process | None, extension: SubstrateConfig | None) -> Process | None:
    """Return the process with our limit of open files as its rlimit, the stricter one counts."""
    most = None if extension is None else extension.limits.open_files
    if process is None or most is None:
        return process
    name = "RLIMIT_NOFILE"
    for limit in process.rlimits:
        if limit.type == name:
            most = min(most, limit.hard)
    others = tuple(limit for limit in process.rlimits if limit.type != name)
    return replace(process, rlimits=(*others, Rlimit(name, most, most)))


def _started_in_project(
    process: Process | None,
    project: ResolvedProject | None,
    extension: SubstrateConfig | None,
    demand: Demand,
) -> Process | None:
    """Return the process with the project as its directory, unless another one was asked for."""
    if process is None or project is None or extension is None or extension.project is None:
        return process
    if demand.cwd_given or not extension.project.enter:
        return process
    return replace(process, cwd=project.at)


def _denied(config: Config, project: ResolvedProject | None) -> tuple[str, ...]:
    """Return the paths of the world that `project.deny` hides, as they exist now."""
    extension = config.substrate
    if project is None or extension is None or extension.project is None:
        return ()
    if not extension.project.deny:
        return ()
    from substrate.isolation.denied import matching_paths

    return tuple(
        f"{project.at}/{path}" for path in matching_paths(project.path, extension.project.deny)
    )


def _protected(config: Config, project: ResolvedProject | None) -> tuple[str, ...]:
    """Return what of the project `project.readonly` protects, as it exists now, relative to it."""
    extension = config.substrate
    asked = extension.project if extension is not None else None
    if project is None or asked is None or not asked.readonly or project.write == "readonly":
        return ()
    from substrate.isolation.protected import protected_paths

    return protected_paths(project.path, asked.readonly)
