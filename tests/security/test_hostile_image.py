"""A root file system made to lead the runtime astray: links, special files, races, devices."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import attack
from tests.support.attack import ATTACK, NO_USERNS, SHARED_USERS
from tests.support.bundles import default_config
from tests.support.features import requires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK)

RACES = 16
# Says which protection of a procfs is missing, whatever name it has got.
_PROTECTIONS = """
for proc in /proc /evil; do
    grep -q keyring $proc/keys && echo unmasked
    echo x >$proc/sys/kernel/domainname && echo writable
done 2>/dev/null
echo done
"""
USERS: dict[str, dict[str, Any]] = {"own users": {}, SHARED_USERS: NO_USERNS}


@pytest.fixture
def image(runtime: Runtime, rootfs: Path) -> Path:
    """A copy of the image that the test may spoil."""
    directory = runtime.folder / "image"
    shutil.copytree(rootfs, directory, symlinks=True)
    return directory


@pytest.fixture(params=list(USERS))
def linux(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The payload's uid 0 as a powerless user outside, and as the host's root."""
    return USERS[request.param]


@pytest.fixture
def outside(runtime: Runtime) -> Iterator[Path]:
    """A folder of the host that nothing may change; it is compared at the end."""
    folder = runtime.folder / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "kept").write_text("precious", encoding="utf-8")
    before = _mounts()
    yield folder
    assert sorted(os.listdir(folder)) == ["kept"]
    assert (folder / "kept").read_text("utf-8") == "precious"
    assert _mounts() == before


@pytest.mark.parametrize("target", ["/etc", "etc", "/nowhere", "../../..", "self", "{outside}"])
@pytest.mark.parametrize("name", ["proc", "dev"])
def test_a_kernel_file_system_never_goes_behind_a_link(
    runtime: Runtime, image: Path, outside: Path, linux: dict[str, Any], name: str, target: str
) -> None:
    # CVE-2019-19921, CVE-2026-41579
    (image / name).rmdir()
    (image / name).symlink_to(
        target.replace("{outside}", str(outside)) if target != "self" else name
    )
    bundle = runtime.bundle("true", root={"path": str(image)}, linux=linux)
    assert f"/{name}" in attack.text_of_refusal(runtime("run", "--bundle", bundle, "w"))
    (image / name).unlink()
    (image / name).mkdir()
    runtime("run", "--bundle", bundle, "w").ok()


@pytest.mark.parametrize("link", ["{outside}", "{outside}/new/deep", "../../../..{outside}"])
def test_a_mount_target_that_leads_out_stays_in(
    runtime: Runtime, image: Path, outside: Path, linux: dict[str, Any], link: str
) -> None:
    # CVE-2021-30465
    (image / "target").symlink_to(link.replace("{outside}", str(outside)))
    mounts = default_config(image)["mounts"]
    for extra in (
        {"destination": "/target", "type": "tmpfs"},
        {"destination": "/target/made", "type": "tmpfs"},
        {"destination": "/target/file", "source": "/etc/hostname", "options": ["bind"]},
    ):
        # Refused or inside, as it likes; the fixture looks at the outside.
        bundle = runtime.bundle(
            "true", root={"path": str(image), "readonly": False}, linux=linux,
            mounts=[*mounts, extra],
        )  # fmt: skip
        runtime("run", "--bundle", bundle, "w")
    good = runtime.bundle(
        "grep", " /work tmpfs", "/proc/mounts", root={"path": str(image)}, linux=linux,
        mounts=[*mounts, {"destination": "/work", "type": "tmpfs"}],
    )  # fmt: skip
    assert runtime("run", "--bundle", good, "w").ok().stdout


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "file"])
def test_a_special_file_as_mount_target_holds_nobody_up(
    runtime: Runtime, image: Path, linux: dict[str, Any], kind: str
) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "fifo": os.mkfifo,
        "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o666),
        "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        "file": lambda path: path.write_text("x", "utf-8"),
    }
    makers[kind](image / "target")
    mounts = default_config(image)["mounts"]
    bind = {"destination": "/target", "source": "/etc/hostname", "options": ["bind", "ro"]}
    directory = {"destination": "/target", "type": "tmpfs"}
    script = ("cat", "/target")
    for extra, good in ((bind, True), (directory, False)):
        bundle = runtime.bundle(
            *script, root={"path": str(image)}, linux=linux, mounts=[*mounts, extra]
        )
        result = runtime("run", "--bundle", bundle, "w", timeout_s=10)
        assert (result.status == 0) == good, result


def test_the_image_s_own_null_device_masks_nothing(
    runtime: Runtime, image: Path, outside: Path, linux: dict[str, Any]
) -> None:
    # CVE-2025-31133: what masks /proc/keys would be what the image put in /dev/null.
    (image / "dev/null").symlink_to(outside / "kept")
    (image / "masked").write_text("visible\n", encoding="utf-8")
    script = "cat /masked /proc/keys; echo x >/dev/null; stat -c %t:%T /dev/null"
    bundle = runtime.bundle(
        "sh", "-c", script, root={"path": str(image)},
        linux={**linux, "maskedPaths": ["/masked", "/proc/keys"]},
    )  # fmt: skip
    assert runtime("run", "--bundle", bundle, "w").ok().stdout == "1:3\n"


def test_masked_paths_behind_links_stay_in_the_image(
    runtime: Runtime, image: Path, outside: Path, linux: dict[str, Any]
) -> None:
    (image / "hidden").symlink_to(outside)
    (image / "up").symlink_to("../../../../../etc")
    (image / "secret").write_text("secret\n", encoding="utf-8")
    (image / "alias").symlink_to("secret")
    paths = ["/hidden", "/hidden/kept", "/up/passwd", "/alias", "/proc/self/fd/0", "/nowhere"]
    bundle = runtime.bundle(
        "sh", "-c", "cat /secret /alias; ls /", root={"path": str(image)},
        linux={**linux, "maskedPaths": paths, "readonlyPaths": paths},
    )  # fmt: skip
    result = runtime("run", "--bundle", bundle, "w")
    assert "secret\n" not in result.stdout.replace("/secret", "").splitlines()[:1]
    assert (outside / "kept").read_text("utf-8") == "precious"


def test_devices_of_the_image_are_dead(
    runtime: Runtime, image: Path, linux: dict[str, Any]
) -> None:
    os.mknod(image / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (image / "zero").chmod(0o666)
    script = "head -c 1 /zero | wc -c; head -c 1 /dev/zero | wc -c"
    bundle = runtime.bundle("sh", "-c", script, root={"path": str(image)}, linux=linux)
    result = runtime("run", "--bundle", bundle, "w")
    assert result.stdout == "0\n1\n", result


def test_the_host_s_devices_keep_their_mode(runtime: Runtime, linux: dict[str, Any]) -> None:
    # Without a user namespace the payload owns these nodes: they must not be the host's own.
    nodes = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")]
    before = {node: os.stat(node) for node in nodes}
    masked = "/proc/timer_list"
    script = (
        f"for node in {' '.join(nodes)} {masked}; do chmod 0 $node; chown 1:1 $node;"
        " echo x >$node; done; echo x >/dev/null && echo writable"
    )
    bundle = runtime.bundle("sh", "-c", script, linux={**linux, "maskedPaths": [masked]})
    result = runtime("run", "--bundle", bundle, "w")
    after = {node: os.stat(node) for node in nodes}
    for node, status in after.items():
        # Before anything is compared: a machine without /dev/null is no use to the other tests.
        os.chmod(node, stat.S_IMODE(before[node].st_mode))
        os.chown(node, before[node].st_uid, before[node].st_gid)
        assert (status.st_mode, status.st_uid) == (before[node].st_mode, before[node].st_uid)
    assert result.stdout == "writable\n", result


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86_64's")
def test_setuid_programs_of_the_image_raise_nobody(
    runtime: Runtime, image: Path, programs: Path, linux: dict[str, Any]
) -> None:
    shutil.copy(programs / "attempt", image / "bin/raise")
    (image / "bin/raise").chmod(0o6755)
    process = {"user": {"uid": 1000, "gid": 1000}}
    bundle = runtime.bundle("/bin/raise", root={"path": str(image)}, linux=linux, process=process)
    calls = "setuid 64 105 0\nsetgid 64 106 0\nchown 64 92 @/tmp 1 1\nstay 64 105 1000\n"
    result = runtime("run", "--bundle", bundle, "w", stdin=calls)
    assert result.stdout.split() == ["setuid", "1", "setgid", "1", "chown", "1", "stay", "0"], (
        result
    )


@pytest.mark.parametrize("pair", [("a", "b"), ("work", "evil"), ("proc", "evil"), ("dev", "evil")])
def test_exchanging_directories_during_creation_moves_no_mount_outside(
    runtime: Runtime, image: Path, outside: Path, programs: Path, pair: tuple[str, str]
) -> None:
    first, second = (image / name for name in pair)
    first.mkdir(exist_ok=True)
    if pair[0] == "a":
        (first / "sub").mkdir()
    second.symlink_to(outside)
    mounts = default_config(image)["mounts"]
    if pair[0] in ("a", "work"):
        destination = f"/{pair[0]}/sub" if pair[0] == "a" else "/work"
        mounts.append({"destination": destination, "type": "tmpfs"})
        bind = {"source": "/etc/hostname", "options": ["bind", "ro"]}
        mounts.append({"destination": f"/{pair[0]}/file", **bind})
    # Without a user namespace: this is where a mount outside would be the host's.
    masks = {**NO_USERNS, "maskedPaths": ["/proc/keys"], "readonlyPaths": ["/proc/sys"]}
    root = {"path": str(image), "readonly": False}
    bundle = runtime.bundle("sh", "-c", _PROTECTIONS, root=root, linux=masks, mounts=mounts)
    with attack.background([programs / "swapper", first, second]):
        outputs = [runtime("run", "--bundle", bundle, "w").stdout for _ in range(RACES)]
    # Refused or complete, never half: what protects a procfs stays on it wherever it ends up.
    assert set(outputs) <= {"", "done\n"}, outputs
    assert pair[0] == "dev" or "done\n" in outputs


def _mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    return [line.split(" ")[4] for line in lines]
