"""What a world may go without, by the names that `allowDegraded` and `--allow-degraded` take.

A name nobody knows would allow nothing, silently; so it is an error.
"""

from __future__ import annotations

OUTPUT_LIMIT = "limit.output"
DISK_LIMIT = "limit.disk"
OVERLAY = "overlay"
CONTROLLER = "cgroup."

# Name: what is missing where it is allowed and cannot be had. Those marked * are only recorded:
# they never end a call.
DEGRADABLE = {
    "cgroup": "every limit that a cgroup enforces",
    "cgroup.memory": "limits of memory; so for cpu, cpuset, hugetlb, io, network, pids, rdma",
    "limit": "every limit of substrate.limits that cannot be enforced",
    OUTPUT_LIMIT: "the limit of output",
    DISK_LIMIT: "the limit of what the layers take",
    "limit.egressBytes": "the limit of what is sent",
    OVERLAY: "layers of overlayfs: the world gets a copy of the project",
    "network": "a filtered network: the world gets none",
    "device-rules": "the device rules of linux.resources",
    "unlocked-mounts": "mounts that a payload with CAP_SYS_ADMIN cannot change",
    "host-uid-0": "users of the world's own: uid 0 in it is the host's",
    "apparmor": "the AppArmor profile",
    "selinux": "the SELinux labels",
    "ambient-capabilities": "* ambient capabilities that are not inheritable",
    "idmapped-mounts": "* owners of files on a file system without id-mapped mounts",
}
_CONTROLLERS = frozenset(
    ("cpu", "cpuset", "devices", "hugetlb", "io", "memory", "misc", "network", "pids", "rdma")
)


def is_degradable(name: str) -> bool:
    """Whether a world may go without something of that name."""
    if name.startswith(CONTROLLER):
        return name.removeprefix(CONTROLLER) in _CONTROLLERS
    return name in DEGRADABLE


def known_names() -> str:
    """Return the names as a message lists them."""
    return ", ".join(DEGRADABLE)
