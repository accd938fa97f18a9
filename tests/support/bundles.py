"""Bundles for tests: a small valid config.json, changed where the test says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

BUSYBOX = "/bin/busybox"
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var", "work")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {
        "destination": "/tmp",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "nodev", "mode=1777"],
    },
]


def make_rootfs(directory: Path) -> Path:
    """Fill `directory` with a busybox userland that every uid can read, and return it."""
    for name in _FOLDERS:
        (directory / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, directory / "bin/busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in set(listed.stdout.split()) - {"busybox"}:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="utf-8")
    (directory / "etc/group").write_text("root:x:0:\n", encoding="utf-8")
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return directory


def default_config(rootfs: Path, uid: int | None = None, gid: int | None = None) -> dict[str, Any]:
    """Return a configuration whose root is uid 0 inside; `uid` maps it to that user outside.

    Without `uid`, as root, ids 0 to 65535 are mapped to powerless ones from 100000 on.
    """
    first_uid, first_gid, size = (100000, 100000, 65536)
    if uid is not None:
        first_uid, first_gid, size = (uid, uid if gid is None else gid, 1)
    elif os.geteuid() != 0:
        first_uid, first_gid, size = (os.geteuid(), os.getegid(), 1)
    return {
        "ociVersion": "1.2.0",
        "process": {
            "args": ["/bin/true"],
            "env": [_PATH, "TERM=xterm"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
            "capabilities": {
                name: []
                for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
        },
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": "world",
        "mounts": json.loads(json.dumps(_MOUNTS)),
        "linux": {
            "namespaces": [
                {"type": kind}
                for kind in ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")
            ],
            "uidMappings": [{"containerID": 0, "hostID": first_uid, "size": size}],
            "gidMappings": [{"containerID": 0, "hostID": first_gid, "size": size}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    }


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `config` with `changes` put in: objects merge, None removes, all else replaces."""
    result = dict(config)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def write_bundle(directory: Path, config: dict[str, Any]) -> Path:
    """Write `directory`/config.json and return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    path = directory / "config.json"
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    path.chmod(0o644)
    return directory
