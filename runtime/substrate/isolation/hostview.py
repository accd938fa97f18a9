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

ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debian_version",
    "ethertypes", "fonts", "gai.conf", "gitconfig", "group", "host.conf",
    "inputrc", "issue", "java-17-openjdk", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "locale.conf", "localtime", "login.defs", "lsb-release", "magic",
    "magic.mime", "mailcap", "manpath.config", "mime.types", "nanorc", "networks",
    "nsswitch.conf", "os-release", "pam.conf", "pam.d", "passwd", "perl", "pki", "profile",
    "profile.d", "protocols", "python3", "python3.11", "python3.12", "python3.13", "rpc",
    "security", "services", "shells", "skel", "ssl", "subgid", "subuid", "terminfo", "timezone",
    "vim", "xattr.conf", "xdg",
)  # fmt: skip

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
    links: list[tuple[str, str]] = []
    mounts: list[ResolvedMount] = []
    paths = [*SYSTEM_DIRECTORIES, *(f"/etc/{name}" for name in ETC), *expose]
    for path in dict.fromkeys(paths):
        if path in hidden or not os.path.exists(path):
            continue
        if path in SYSTEM_DIRECTORIES and os.path.islink(path):
            # /bin -> usr/bin on a merged-/usr host.
            links.append((path, os.readlink(path)))
            continue
        mounts.append(
            ResolvedMount(
                kind="bind",
                type="bind",
                source=path,
                destination=path,
                options=READ_ONLY,
                is_directory=os.path.isdir(path),
            )
        )
    return links, mounts
