from __future__ import annotations

import os
from typing import TYPE_CHECKING

from substrate.isolation.hostview import ETC, READ_ONLY, host_view
from substrate.kernel.constants import MountAttr

if TYPE_CHECKING:
    from pathlib import Path

# What a command in a world has no business with; see "Never here" of the module.
SECRETS = (
    "shadow", "shadow-", "gshadow", "gshadow-", "sudoers", "sudoers.d", "ssh", "krb5.keytab",
    "machine-id", "passwd-", "group-", "cron.d", "crontab", "fstab", "exports", "netplan",
    "NetworkManager", "wireguard", "docker", "kubernetes", "apt", "letsencrypt", "hostname",
    "hosts", "resolv.conf", "environment", "substrate",
)  # fmt: skip
HIDDEN = ("/root", "/home", "/var", "/srv", "/mnt", "/run", "/etc", "/tmp", "/proc", "/sys",
          "/dev", "/boot", "/media")  # fmt: skip


def shown(expose: tuple[str, ...] = (), hide: tuple[str, ...] = ()) -> set[str]:
    links, mounts = host_view(expose, hide)
    return {path for path, _ in links} | {mount.destination for mount in mounts}


def test_no_secret_is_in_the_table() -> None:
    assert set(SECRETS) & set(ETC) == set()


def test_nothing_private_of_this_host_shows() -> None:
    paths = shown()
    assert paths & set(HIDDEN) == set()
    for path in paths:
        assert not any(path.startswith(f"{hidden}/") for hidden in HIDDEN if hidden != "/etc")


def test_every_mount_is_read_only_without_devices_and_setuid() -> None:
    _, mounts = host_view(("/srv",), ())
    wanted = MountAttr.RDONLY | MountAttr.NOSUID | MountAttr.NODEV
    assert {mount.options for mount in mounts} == {READ_ONLY}
    assert READ_ONLY.recursive_set == wanted
    assert READ_ONLY.recursive_bind
    assert not READ_ONLY.propagation


def test_programs_and_libraries_show() -> None:
    assert {"/usr", "/etc/passwd"} <= shown()


def test_a_path_shows_at_its_own_place_and_is_what_it_is() -> None:
    _, mounts = host_view((), ())
    for mount in mounts:
        assert mount.source == os.path.realpath(mount.destination)
        assert mount.is_directory == os.path.isdir(mount.source)


def test_links_of_a_merged_usr_are_links() -> None:
    links, _ = host_view((), ())
    for path, target in links:
        assert os.path.islink(path)
        assert os.readlink(path) == target


def test_more_can_be_exposed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    _, mounts = host_view((str(tmp_path), str(file)), ())
    kinds = {mount.destination: mount.is_directory for mount in mounts}
    assert kinds[str(tmp_path)]
    assert not kinds[str(file)]


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    assert shown((str(tmp_path / "missing"),)) == shown()


def test_entries_can_be_hidden(tmp_path: Path) -> None:
    assert shown(hide=("/etc/passwd",)) == shown() - {"/etc/passwd"}
    assert shown(hide=("/usr",)) == shown() - {"/usr"}
    assert shown((str(tmp_path),), (str(tmp_path),)) == shown()


def test_the_order_is_the_same_every_time() -> None:
    assert host_view((), ()) == host_view((), ())
