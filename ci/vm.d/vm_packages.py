"""The Debian packages and the kernels of ci/vm: found, or fetched when they are missing.

The kernel of the full machine is unpacked below .cache/vm-kernel, not installed: an installed one
would change how this machine boots.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from vm_errors import MISSING, VmError
from vm_words import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SMALL = {
    "/usr/bin/linux.uml": "user-mode-linux",
    "/bin/busybox": "busybox-static",
    "/sbin/modprobe": "kmod",
    "/sbin/mke2fs": "e2fsprogs",
}
_FULL = {
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "/bin/busybox": "busybox-static",
    "/sbin/modprobe": "kmod",
}
_SYSTEMD = {"/lib/systemd/systemd": "systemd", "/usr/share/dbus-1/system.conf": "dbus"}
# Of the package virtiofsd, and of Debian 12, where it still belongs to qemu-system-common.
_FILE_SERVERS = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
_UML_MODULES = Path("/usr/lib/uml/modules")
# 6.12 has what the small machine lacks, and virtiofs built in: it boots without an initramfs.
_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_KERNEL_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64]"
    " http://deb.debian.org/debian bookworm-backports main\n"
)
_CACHE = Path(__file__).resolve().parents[2] / ".cache"


def small_kernel(say: Callable[[str], None]) -> Kernel:
    """Return the user-mode-linux of the package, which is installed when it is missing."""
    _install(_SMALL, say)
    release = _output(["linux.uml", "--version"]).strip()
    return Kernel("/usr/bin/linux.uml", str(_UML_MODULES / release))


def full_kernel(say: Callable[[str], None]) -> Kernel:
    """Return Debian's cloud kernel from .cache/vm-kernel; QEMU is installed when it is missing."""
    _install(_FULL, say)
    if not any(Path(path).exists() for path in _FILE_SERVERS):
        _install({_FILE_SERVERS[0]: "virtiofsd"}, say)
    with Path(__file__).open("rb") as lock:
        # Two at once would unpack over each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _CACHE / "vm-kernel"
        if not folder.is_dir():
            say(f"downloading {_KERNEL_PACKAGE} from bookworm-backports")
            _unpack_kernel(folder)
    images = sorted((folder / "boot").glob("vmlinuz-*"))
    if not images:
        raise VmError(f"no kernel in {folder}", MISSING, f"rm -r {folder}")
    release = images[-1].name.removeprefix("vmlinuz-")
    return Kernel(str(images[-1]), str(folder / "lib/modules" / release))


def install_systemd(say: Callable[[str], None]) -> None:
    """Install what the machine's process 1 needs; this machine's own stays what it is."""
    _install(_SYSTEMD, say)


def file_server() -> str:
    """Return the virtiofsd there is; call `full_kernel` first."""
    return next(path for path in _FILE_SERVERS if Path(path).exists())


def _install(wanted: dict[str, str], say: Callable[[str], None]) -> None:
    missing = [package for path, package in wanted.items() if not Path(path).exists()]
    if not missing:
        return
    hint = f"sudo apt-get install {' '.join(missing)}"
    if not shutil.which("apt-get"):
        raise VmError(f"these Debian packages are missing: {', '.join(missing)}", MISSING, hint)
    say(f"installing {' '.join(missing)}")
    _run(["apt-get", "update", "-qq"], hint)
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], hint)


def _unpack_kernel(folder: Path) -> None:
    """Fetch the kernel through an apt configuration of its own and unpack it into the folder."""
    work = folder.with_name(folder.name + ".new")
    shutil.rmtree(work, ignore_errors=True)
    for name in ("lists/partial", "archives/partial", "root"):
        (work / name).mkdir(parents=True)
    (work / "kernel.list").write_text(_KERNEL_SOURCE)
    options = {
        "Dir::Etc::SourceList": work / "kernel.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work,
        "APT::Sandbox::User": "root",
    }
    apt = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    hint = "curl -I http://deb.debian.org/debian/dists/bookworm-backports/InRelease"
    _run(["apt-get", "-qq", *apt, "update"], hint)
    package = _real_package(_output(["apt-cache", *apt, "show", _KERNEL_PACKAGE]).splitlines())
    _run(["apt-get", "-qq", *apt, "download", package], hint, work)
    for archive in work.glob(f"{package}_*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(work / "root")], hint)
    release = package.removeprefix("linux-image-")
    _run(["depmod", "-b", str(work / "root"), release], "apt-get install --reinstall kmod")
    # In one step: a folder of this name is complete.
    (work / "root").rename(folder)
    shutil.rmtree(work)


def _real_package(description: Iterable[str]) -> str:
    """Return the package of one release that the package of the newest release depends on."""
    for line in description:
        if line.startswith("Depends:"):
            return line.split()[1].rstrip(",")
    raise VmError(f"apt knows no {_KERNEL_PACKAGE} in bookworm-backports", MISSING)


def _run(argv: list[str], hint: str, directory: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        ended = subprocess.run(
            argv, env=environment, cwd=directory, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise VmError(f"running {argv[0]}: {error.strerror}", MISSING, hint) from None
    if ended.returncode:
        words = (ended.stderr or ended.stdout).strip()
        raise VmError(f"{' '.join(argv[:2])} failed:\n{words}", MISSING, hint)


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
