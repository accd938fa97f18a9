"""The configuration `substrate-runtime spec` writes: strict where runc's is not.

No capability, a user namespace, and a named seccomp profile; everything a person is meant to
edit is spelled out.
"""

from __future__ import annotations

import os

from substrate.bundle.model import NAMESPACE_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.2.0"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Files of /proc and /sys that tell about the host or its hardware, or change it.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_config() -> dict[str, Any]:
    """Return the configuration of a bundle with a root file system in `rootfs/`."""
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh"],
            "env": [f"PATH={SEARCH_PATH}", "TERM=xterm", "LANG=C.UTF-8"],
            "cwd": "/",
            "capabilities": {
                "bounding": [],
                "effective": [],
                "inheritable": [],
                "permitted": [],
                "ambient": [],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "world",
        "mounts": _mounts(),
        "linux": {
            # Not time: a world has the host's clock unless someone asks for offsets.
            "namespaces": [{"type": type_} for type_ in NAMESPACE_TYPES if type_ != "time"],
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
        "substrate": {
            "network": {"mode": "none"},
            "seccomp": {"profile": "default", "mode": "enforce"},
        },
    }


def rootless_config(uid: int | None = None, gid: int | None = None) -> dict[str, Any]:
    """Return the same for an ordinary user: uid 0 of the world is that user, no other id exists.

    The ids are those of the caller unless given. Without the cgroup mount, which a user who
    has no delegated cgroup cannot make.
    """
    config = default_config()
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "cgroup"]
    linux = config["linux"]
    linux["uidMappings"] = [_single(os.geteuid() if uid is None else uid)]
    linux["gidMappings"] = [_single(os.getegid() if gid is None else gid)]
    return config


def _single(host_id: int) -> dict[str, int]:
    return {"containerID": 0, "hostID": host_id, "size": 1}


def _mounts() -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=65536k"),
        # Without gid=5: the group tty need not be among the world's ids.
        _mount(
            "/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"
        ),
        _mount(
            "/dev/shm",  # noqa: S108 -- in the world, not on the host
            "tmpfs",
            "nosuid",
            "noexec",
            "nodev",
            "mode=1777",
            "size=65536k",
        ),
        _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]


def _mount(destination: str, type_: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": type_,
        "source": "shm" if destination == "/dev/shm" else type_,  # noqa: S108
        "options": list(options),
    }
