"""Probes of the cgroup v2 hierarchy; they look and never make a group."""

from __future__ import annotations

import os

from substrate.kernel.procfs import mount_lines


def mounted() -> str:
    """Try whether a cgroup2 hierarchy is mounted and may be written."""
    directory = find_cgroup2()
    if not directory:
        return "no cgroup2 file system is mounted"
    if not os.access(f"{directory}/cgroup.procs", os.W_OK):
        return f"{directory} cannot be written by uid {os.geteuid()}"
    return ""


def for_worlds() -> str:
    """Try whether every world gets a cgroup, which pause, update and events need."""
    reason = mounted()
    held = v1_controllers() if not reason else []
    if held:
        return (
            f"cgroup v1 holds {', '.join(held)}: a world gets a cgroup only by linux.cgroupsPath,"
            " and none of their limits"
        )
    return reason


def remedy() -> str:
    """Return what can be done about a missing controller, by who asks."""
    if find_cgroup2() and os.geteuid() and not v1_controllers():
        return "systemd-run --user --scope -p Delegate=yes COMMAND"
    return "boot with systemd.unified_cgroup_hierarchy=1 and delegate the controller"


def memory() -> str:
    """Try whether memory can be limited."""
    return _controller("memory")


def cpu() -> str:
    """Try whether processor time can be limited."""
    return _controller("cpu")


def pids() -> str:
    """Try whether the number of processes can be limited."""
    return _controller("pids")


def io() -> str:
    """Try whether input and output can be limited."""
    return _controller("io")


def cpuset() -> str:
    """Try whether processors can be chosen."""
    return _controller("cpuset")


def hugetlb() -> str:
    """Try whether huge pages can be limited."""
    return _controller("hugetlb")


def rdma() -> str:
    """Try whether remote memory access can be limited."""
    return _controller("rdma")


def find_cgroup2(mountinfo: str = "/proc/self/mountinfo") -> str:
    """Return where cgroup2 is mounted, or ""."""
    cgroup2 = (line.point for line in mount_lines(mountinfo) if line.type == "cgroup2")
    return next(cgroup2, "")


def v1_controllers(table: str = "/proc/cgroups") -> list[str]:
    """Return the controllers that hierarchies of cgroup v1 hold."""
    try:
        with open(table, encoding="ascii") as file:
            rows = [line.split() for line in file if not line.startswith("#")]
    except FileNotFoundError:
        # A kernel without v1.
        return []
    return [row[0] for row in rows if len(row) == 4 and row[1] != "0"]


def _controller(name: str) -> str:
    reason = mounted()
    if reason:
        return reason
    path = f"{find_cgroup2()}/cgroup.controllers"
    with open(path, encoding="ascii") as file:
        if name in file.read().split():
            return ""
    return f"{path} does not list {name}"
