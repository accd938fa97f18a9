"""Configurations as engines write them, shortened only where they repeat themselves."""

from __future__ import annotations

import copy
from typing import Any

CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
]

MINIMAL: dict[str, Any] = {
    "ociVersion": "1.0.0",
    "process": {"args": ["true"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "mount"}]},
}

PODMAN: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [0]},
        "args": ["sleep", "1000"],
        "env": ["PATH=/usr/bin:/bin", "TERM=xterm", "container=podman", "HOSTNAME=b1f3"],
        "cwd": "/",
        "capabilities": {
            "bounding": CAPABILITIES,
            "effective": CAPABILITIES,
            "permitted": CAPABILITIES,
        },
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 1048576},
            {"type": "RLIMIT_NPROC", "hard": 4194304, "soft": 4194304},
        ],
        "oomScoreAdj": 0,
        "apparmorProfile": "containers-default-0.50.1",
        "selinuxLabel": "",
    },
    "root": {"path": "/var/lib/containers/storage/overlay/1a/merged"},
    "hostname": "b1f3",
    "mounts": [
        {
            "destination": "/proc",
            "type": "proc",
            "source": "proc",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": [
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/etc/resolv.conf",
            "type": "bind",
            "source": "/run/containers/storage/overlay-containers/b1/userdata/resolv.conf",
            "options": ["bind", "rprivate"],
        },
        {
            "destination": "/dev/shm",
            "type": "bind",
            "source": "/var/lib/containers/storage/overlay-containers/b1/userdata/shm",
            "options": ["bind", "rprivate", "nosuid", "noexec", "nodev", "mode=1777", "size=65m"],
        },
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ],
    "annotations": {
        "io.container.manager": "libpod",
        "org.opencontainers.image.stopSignal": "15",
    },
    "linux": {
        "sysctl": {"net.ipv4.ping_group_range": "0 0"},
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
            ],
            "memory": {"limit": -1, "swappiness": 60},
            "pids": {"limit": 2048},
            "cpu": {"shares": 1024, "quota": -1, "cpus": "0-1"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854772000}],
            "unified": {"memory.high": "max"},
        },
        "cgroupsPath": "machine.slice:libpod:b1f3",
        "namespaces": [
            {"type": "pid"},
            {"type": "network", "path": "/run/netns/netns-5ee7"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "mount"},
            {"type": "cgroup"},
        ],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["bdflush", "io_pgetevents"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ"}],
                },
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [
                        {
                            "index": 0,
                            "value": 2114060288,
                            "valueTwo": 0,
                            "op": "SCMP_CMP_MASKED_EQ",
                        }
                    ],
                },
            ],
        },
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/sys", "/proc/sysrq-trigger"],
        "rootfsPropagation": "rprivate",
    },
}

DOCKER: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [1000]},
        "args": ["/docker-entrypoint.sh", "nginx"],
        "env": ["PATH=/usr/bin", "EMPTY=", "EQUALS=a=b"],
        "cwd": "/srv",
        "capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_NET_RAW"],
            "effective": ["CAP_CHOWN"],
            "permitted": ["CAP_CHOWN"],
        },
        "apparmorProfile": "docker-default",
        "oomScoreAdj": 0,
    },
    "root": {"path": "/var/lib/docker/overlay2/aa/merged"},
    "hostname": "c0ffee",
    "mounts": [
        {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind"]},
        {
            "destination": "/ro",
            "type": "bind",
            "source": "/srv/ro",
            "options": ["rbind", "ro", "rro", "rprivate"],
        },
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["noswap"]},
    ],
    "hooks": {
        "prestart": [
            {
                "path": "/proc/1234/exe",
                "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "c0ffee"],
            }
        ],
        "poststop": [{"path": "/bin/true", "env": ["A=b"], "timeout": 5}],
    },
    "linux": {
        "uidMappings": [
            {"containerID": 0, "hostID": 100000, "size": 1000},
            {"containerID": 1000, "hostID": 101000, "size": 64536},
        ],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "devices": [
            {
                "path": "/dev/fuse",
                "type": "c",
                "major": 10,
                "minor": 229,
                "fileMode": 438,
                "uid": 0,
                "gid": 0,
            },
            {"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0},
        ],
        "namespaces": [
            {"type": "mount"},
            {"type": "network"},
            {"type": "uts"},
            {"type": "pid"},
            {"type": "ipc"},
            {"type": "user"},
            {"type": "time"},
        ],
        "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 1}, "boottime": {"secs": 3}},
        "resources": {
            "blockIO": {
                "weight": 500,
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            }
        },
        "personality": {"domain": "LINUX"},
        "intelRdt": {"closID": "guaranteed", "l3CacheSchema": "L3:0=7f0"},
        "mountLabel": "",
        "netDevices": {"eth0": {"name": "container_eth0"}},
    },
}

OURS: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {"args": ["/bin/sh"], "cwd": "/"},
    "mounts": [{"destination": "/proc", "type": "proc"}],
    "linux": {"namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "network"}]},
    "substrate": {
        "project": {
            "path": ".",
            "at": "/work",
            "write": "live",
            "deny": [".env"],
            "readonly": ["LICENSE"],
            "risky": ["*.sql"],
            "enter": False,
        },
        "rootfs": {"kind": "host", "expose": ["~/.cargo/bin"], "hide": ["/opt"]},
        "network": {
            "mode": "filtered",
            "allowedDomains": ["github.com", "*.pypi.org", "10.1.2.0/24:5432"],
            "denied": ["**.evil.example.com"],
            "kernelLog": True,
        },
        "limits": {
            "wallTime": 1.5,
            "egressBytes": 0,
            "output": 1,
            "memory": 1,
            "cpus": 2,
            "pids": 1,
            "openFiles": 1,
            "disk": 1,
        },
        "diff": {"hash": "all", "smallFileLimit": 0, "maxEntries": 0},
        "seccomp": {"profile": "locked-down", "mode": "log"},
        "init": True,
        "allowDegraded": ["host-uid-0"],
    },
}

EXAMPLES = {"minimal": MINIMAL, "podman": PODMAN, "docker": DOCKER, "ours": OURS}


def example(name: str) -> dict[str, Any]:
    """Return an example that may be changed."""
    return copy.deepcopy(EXAMPLES[name])


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set `a.b.0.c` in nested objects and arrays, making objects on the way."""
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if isinstance(place, list):
        place[int(last) : int(last) + 1] = [value]
    else:
        place[last] = value
