"""THE table of what Substrate may need from a machine; each probe tries the thing itself.

Versions are never compared: distributions backport, forbid and patch. `doctor` prints the table
and tests name its rows in `requires(...)`. How each thing is tried lives in the modules beside.
"""

from __future__ import annotations

from substrate.host import cgroups, mounts, namespaces, processes, systemd
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@record
class Probe:
    """One feature of the machine; `reason()` is "" when it works, else why it does not.

    `hint` says what to do then; a function where that depends on who asks.
    """

    name: str
    purpose: str
    reason: Callable[[], str]
    hint: str | Callable[[], str] = ""


_SYSCTL_USERNS = "sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1"
_NEWER_KERNEL = "boot a newer kernel"

_ALL = (
    Probe("root", "worlds for other users, trusted overlays", processes.root, "sudo"),
    Probe("userns", "the world's own users", namespaces.user, _SYSCTL_USERNS),
    Probe(
        "userns.unprivileged",
        "worlds without root",
        namespaces.user_unprivileged,
        _SYSCTL_USERNS,
    ),
    Probe("namespaces", "mount, pid, net, ipc, uts and cgroup of a world", namespaces.others),
    Probe("time_ns", "linux.timeOffsets", namespaces.time, _NEWER_KERNEL),
    Probe("newuidmap", "more than one uid in a rootless world", namespaces.newuidmap,
          "apt-get install uidmap, and a range in /etc/subuid and /etc/subgid"),
    Probe("overlayfs", "layers: what a world changed", mounts.overlay,
          mounts.remedy_unless_nested("modprobe overlay")),
    Probe("overlayfs.userxattr", "layers without root", mounts.overlay_userxattr,
          mounts.remedy_unless_nested(_NEWER_KERNEL)),
    Probe("overlayfs.idmapped", "root's own project in a world", mounts.overlay_idmapped,
          mounts.remedy_unless_nested(_NEWER_KERNEL)),
    Probe("overlayfs.stacked", "a layer for each command of a world", mounts.overlay_stacked,
          _NEWER_KERNEL),
    Probe("mount_setattr", "recursive read-only mounts", mounts.mount_setattr, _NEWER_KERNEL),
    Probe("idmapped_mounts", "uidMappings of a mount", mounts.idmapped,
          mounts.remedy_unless_nested(_NEWER_KERNEL)),
    Probe("new_mount_api", "mounts prepared before the world exists", mounts.new_mount_api,
          _NEWER_KERNEL),
    Probe("pty", "process.terminal", mounts.pty),
    Probe("mqueue", "POSIX message queues of a world", mounts.mqueue),
    Probe("openat2", "paths that cannot leave the root file system", processes.openat2,
          _NEWER_KERNEL),
    Probe("clone3", "starting a process in its namespaces and cgroup", processes.clone3,
          "a seccomp filter around us may refuse it: allow clone3"),
    Probe("pidfd", "signals that cannot hit a recycled pid", processes.pidfd, _NEWER_KERNEL),
    Probe("memfd_exec", "an init that is no file in the world", processes.memfd_exec,
          "sysctl -w vm.memfd_noexec=0"),
    Probe("seccomp.filter", "linux.seccomp", processes.seccomp_filter),
    Probe("landlock", "a second fence around files", processes.landlock,
          "boot with lsm=landlock,…"),
    Probe("cap_sys_resource", "raising a hard limit", processes.raise_hard_limit,
          "give the caller CAP_SYS_RESOURCE"),
    Probe("cgroup2", "limits, pause, and killing a whole world", cgroups.for_worlds,
          cgroups.remedy),
    Probe("cgroup2.memory", "linux.resources.memory", cgroups.memory, cgroups.remedy),
    Probe("cgroup2.cpu", "linux.resources.cpu", cgroups.cpu, cgroups.remedy),
    Probe("cgroup2.pids", "linux.resources.pids", cgroups.pids, cgroups.remedy),
    Probe("cgroup2.io", "linux.resources.blockIO", cgroups.io, cgroups.remedy),
    Probe("cgroup2.cpuset", "linux.resources.cpu.cpus", cgroups.cpuset, cgroups.remedy),
    Probe("cgroup2.hugetlb", "linux.resources.hugepageLimits", cgroups.hugetlb, cgroups.remedy),
    Probe("cgroup2.rdma", "linux.resources.rdma", cgroups.rdma, cgroups.remedy),
    Probe("systemd", "--cgroup-manager systemd", systemd.reason, "--cgroup-manager cgroupfs"),
)  # fmt: skip

PROBES = {probe.name: probe for probe in _ALL}

_answers: dict[str, str] = {}


def remedy(name: str) -> str:
    """Return what can be done where the feature `name` is missing."""
    hint = PROBES[name].hint
    return hint if isinstance(hint, str) else hint()


def missing(name: str) -> str:
    """Return why the feature `name` is missing, or "" when it is there; tried once per process.

    Raises `KeyError` for a name without a probe.
    """
    if name not in _answers:
        _answers[name] = PROBES[name].reason()
    return _answers[name]
