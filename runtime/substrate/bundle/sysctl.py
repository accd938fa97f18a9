"""Which sysctls a bundle may set, and their names below /proc/sys.

Only those that belong to a namespace of the world: any other would change the host.
"""

from __future__ import annotations

# Prefix or whole name -> the namespace that owns it (proc(5), namespaces(7)).
OWNERS: tuple[tuple[str, str], ...] = (
    ("net/", "network"),
    ("fs/mqueue/", "ipc"),
    ("kernel/msgmax", "ipc"),
    ("kernel/msgmnb", "ipc"),
    ("kernel/msgmni", "ipc"),
    ("kernel/sem", "ipc"),
    ("kernel/shmall", "ipc"),
    ("kernel/shmmax", "ipc"),
    ("kernel/shmmni", "ipc"),
    ("kernel/shm_rmid_forced", "ipc"),
    ("kernel/domainname", "uts"),
)


def sysctl_path(name: str) -> str | None:
    """Return the name as a path below /proc/sys, None when it is not a plain one.

    As in sysctl(8), the first separator says which of `.` and `/` separates; the other one is
    then part of a name (`net.ipv4.conf.eth0/1.forwarding` is the device `eth0.1`).
    """
    dot, slash = name.find("."), name.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        parts = name.split("/")
    else:
        parts = [part.replace("/", ".") for part in name.split(".")]
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        return None
    return "/".join(parts)


def sysctl_owner(path: str) -> str | None:
    """Return the type of the namespace that owns a sysctl, None when the host does."""
    for prefix, namespace in OWNERS:
        if path == prefix or (prefix.endswith("/") and path.startswith(prefix)):
            return namespace
    return None
