"""What of the host a world with `rootfs.kind: host` sees. One table; everything else is hidden.

Never here: /root, /home, /var, /srv, /mnt, /run and its sockets, shadow files, ssh keys, sudoers.
"""

from __future__ import annotations

import os

from substrate.bundle.mount_options import MountOptions
from substrate.isolation.spec import ResolvedMount
from substrate.kernel.constants import MountAttr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SYSTEM_DIRECTORIES = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32", "/opt",
)  # fmt: skip

ETC = frozenset((
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debian_version",
    "ethertypes", "fonts", "gai.conf", "gitconfig", "group", "host.conf",
    "inputrc", "issue", "java-17-openjdk", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "locale.conf", "localtime", "login.defs", "lsb-release", "magic",
    "magic.mime", "mailcap", "manpath.config", "mime.types", "nanorc", "networks",
    "nsswitch.conf", "os-release", "pam.conf", "pam.d", "passwd", "perl", "pki", "profile",
    "profile.d", "protocols", "python3", "python3.11", "python3.12", "python3.13", "rpc",
    "security", "services", "shells", "skel", "ssl", "subgid", "subuid", "terminfo", "timezone",
    "vim", "xattr.conf", "xdg",
))  # fmt: skip

# Nothing there can be changed, gain privileges or be a device, whatever is mounted below it.
READ_ONLY = MountOptions(
    recursive_set=MountAttr.RDONLY | MountAttr.NOSUID | MountAttr.NODEV,
    bind=True,
    recursive_bind=True,
)


def host_view(
    expose: Iterable[str], hide: Iterable[str]
) -> tuple[list[tuple[str, str]], list[ResolvedMount]]:
    """Return the symlinks (path, target) and the read-only binds that show the host.

    `expose` adds paths; `hide` takes whole entries of the table away (parts of one are masked).
    Paths that this host lacks are left out.
    """
    hidden = set(hide)
    etc = _etc_entries()
    links: list[tuple[str, str]] = []
    mounts: list[ResolvedMount] = []
    for path in SYSTEM_DIRECTORIES:
        if path in hidden or not os.path.exists(path):
            continue
        if os.path.islink(path):
            # /bin -> usr/bin on a merged-/usr host.
            links.append((path, os.readlink(path)))
        else:
            mounts.append(_read_only(path, is_directory=True))
    shown = etc | {path: os.path.isdir(path) for path in expose if os.path.exists(path)}
    mounts += [
        _read_only(path, is_directory=is_directory)
        for path, is_directory in shown.items()
        if path not in hidden
    ]
    return links, mounts


def _etc_entries() -> dict[str, bool]:
    """Return the entries of the table that are there, and whether each is a directory."""
    with os.scandir("/etc") as entries:
        return {
            entry.path: entry.is_dir()
            for entry in sorted(entries, key=lambda entry: entry.name)
            if entry.name in ETC and (not entry.is_symlink() or os.path.exists(entry.path))
        }


def _read_only(path: str, *, is_directory: bool) -> ResolvedMount:
    return ResolvedMount("bind", "bind", os.path.realpath(path), path, READ_ONLY, is_directory)
