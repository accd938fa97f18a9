"""Every shipped bundle runs as its README says, as root and as an ordinary user."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.runtime import ROOT
from tests.support.snapshots import snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED, "mqueue")

BUNDLES = ROOT / "bundles"
NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/config.json"))


def in_bundle(runtime: Runtime, name: str, script: str) -> list[str]:
    """Run a shell script in a world of a shipped bundle and return the lines it printed."""
    project = runtime.folder / "project"
    if not project.exists():
        calls.public_directory(runtime, "project")
    if name == "busybox":
        words: tuple[str | Path, ...] = ("run", "--bundle", busybox(runtime), "w")
    else:
        words = ("run", "--bundle", name, "--project", project, "w")
    before = snapshot(project)
    done = runtime(*words, "sh", "-c", script).ok()
    assert snapshot(project) == before
    return done.stdout.splitlines()


def busybox(runtime: Runtime) -> Path:
    """Copy the bundle and make its root file system, as its README says."""
    directory = runtime.folder / "busybox"
    if not directory.exists():
        shutil.copytree(BUNDLES / "busybox", directory, ignore=shutil.ignore_patterns("rootfs"))
        subprocess.run(
            [directory / "make-rootfs", directory / "rootfs"],
            check=True,
            capture_output=True,
            timeout=60,
        )
    return directory


def test_there_is_a_test_for_every_bundle() -> None:
    assert NAMES == ["busybox", "host-project", "locked-down", "readonly-review", "rootless"]


@pytest.mark.parametrize("name", NAMES)
def test_bundle_is_strictly_isolated(any_runtime: Runtime, name: str) -> None:
    script = """
        hostname; cat /proc/sys/kernel/hostname
        grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status | tr -d '\\t' | sort
        grep -c : /proc/net/dev
        for path in /usr /bin /etc /; do touch $path/mark 2>/dev/null && echo wrote; done
        for path in /root/.ssh /etc/shadow /var/lib /sys/kernel; do ls $path 2>/dev/null; done
        echo scratch > /tmp/file && cat /tmp/file; echo home > $HOME/file && cat $HOME/file
    """
    none = "0" * 16
    assert in_bundle(any_runtime, name, script) == [
        "world", "world", f"CapAmb:{none}", f"CapBnd:{none}", f"CapEff:{none}", f"CapInh:{none}",
        f"CapPrm:{none}", "NoNewPrivs:1", "Seccomp:2", "1", "scratch", "home",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["host-project", "rootless"])
def test_changes_to_the_project_go_into_layers(any_runtime: Runtime, name: str) -> None:
    script = "pwd; echo > made && mkdir folder && ls -A"
    project = str(any_runtime.folder / "project")
    assert in_bundle(any_runtime, name, script) == [project, "folder", "made"]


@pytest.mark.parametrize("name", ["readonly-review", "locked-down"])
def test_project_can_be_read_and_not_written(any_runtime: Runtime, name: str) -> None:
    project = calls.public_directory(any_runtime, "project")
    (project / "file").write_text("to review\n", encoding="utf-8")
    attempts = ("echo > made", "echo >> file", "rm file", "mv file other", "chmod 777 file",
                "mkdir folder", "ln file link", "mount -o remount,rw .")  # fmt: skip
    tries = "; ".join(f"({attempt}) 2>/dev/null && echo '{attempt}'" for attempt in attempts)
    lines = in_bundle(any_runtime, name, f"{tries}; cat file; pwd; grep -c review file")
    assert lines == ["to review", str(project), "1"]


def test_strictest_bundle_shows_and_allows_the_least(any_runtime: Runtime) -> None:
    script = """
        for path in /opt /usr/local/bin /usr/include /dev/pts /dev/shm /dev/mqueue; do
            [ -n "$(ls -A $path 2>/dev/null)" ] && echo "there is $path"
        done
        cp /bin/true /tmp/program && /tmp/program 2>/dev/null && echo ran
        cp /bin/true $HOME/program && $HOME/program 2>/dev/null && echo ran
        unshare --user true 2>/dev/null && echo unshared
        echo $(ls /dev); ulimit -c
    """
    devices, core = in_bundle(any_runtime, "locked-down", script)
    names = {"null", "zero", "full", "random", "urandom", "tty"}
    links = {"fd", "stdin", "stdout", "stderr", "ptmx"}
    assert names <= set(devices.split()) <= names | links
    assert core == "0"


def test_busybox_world_has_nothing_but_busybox(any_runtime: Runtime) -> None:
    script = "find / -xdev -type f -perm -100 2>/dev/null; id -u"
    # An ordinary user is mapped to itself.
    assert in_bundle(any_runtime, "busybox", script) == ["/bin/busybox", str(any_runtime.uid)]


def test_payload_of_the_rootless_bundle_is_the_caller(rootless_runtime: Runtime) -> None:
    lines = in_bundle(rootless_runtime, "rootless", "id -u; id -g; cat /proc/self/uid_map")
    uid, gid = str(rootless_runtime.uid), str(rootless_runtime.gid)
    assert [lines[0], lines[1], *lines[2].split()] == [uid, gid, uid, uid, "1"]


@pytest.mark.parametrize("name", NAMES)
def test_bundle_is_valid_and_has_a_plan(runtime: Runtime, name: str) -> None:
    project = calls.public_directory(runtime, "project")
    place = busybox(runtime) if name == "busybox" else name
    options = () if name == "busybox" else ("--project", project)
    assert "valid" in runtime("validate", "--bundle", place).ok().stdout
    plans = runtime("plan", "--json", "--bundle", place, *options).ok().json()
    last = [steps[-1]["step"] for steps in plans.values()][-1]
    assert last.startswith("execute ")
    assert runtime.worlds() == []
