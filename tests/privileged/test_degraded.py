"""What was asked and cannot be had is an error, or, allowed by name, on record and told once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.refusals import refused
from tests.support.runtime import Result

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)

_FILTERED = {"network": {"mode": "filtered", "allowedDomains": ["example.org"]}}

# name: (what is asked, what the error says)
LOSSES: dict[str, tuple[str, dict[str, Any], str]] = {
    "memory": ("cgroup", {"linux": {"resources": {"memory": {"limit": 1 << 26}}}}, "cgroup"),
    "pids": ("cgroup", {"linux": {"resources": {"pids": {"limit": 10}}}}, "cgroup"),
    "cpu": ("cgroup", {"linux": {"resources": {"cpu": {"quota": 1000}}}}, "cgroup"),
    "limits of ours": ("cgroup", {"substrate": {"limits": {"memory": 1 << 26}}}, "cgroup"),
    "network": ("network", {"substrate": _FILTERED}, "filtered networks are not available"),
}


def warnings_of(result: Result) -> list[str]:
    prefix = "substrate-runtime: warning: "
    return [
        line.removeprefix(prefix) for line in result.stderr.splitlines() if line.startswith(prefix)
    ]


def degraded(runtime: Runtime, world: str) -> list[str]:
    """Return the names on record; a controller's (cgroup.memory) by what it is part of."""
    state = runtime("state", world).ok().json()
    return [entry["name"].partition(".")[0] for entry in state["substrate"]["degraded"]]


@pytest.mark.parametrize("what", LOSSES)
@pytest.mark.parametrize("verb", ["run", "create"])
def test_what_cannot_be_had_ends_the_call(any_runtime: Runtime, verb: str, what: str) -> None:
    name, changes, says = LOSSES[what]
    bundle = any_runtime.bundle("touch", "/tmp/ran", **changes)
    refused(
        any_runtime, verb, "--bundle", bundle, "w",
        status=4, says=says, hint=f"--allow-degraded {name}",
    )  # fmt: skip


@pytest.mark.parametrize("what", LOSSES)
def test_allowing_something_else_allows_nothing(any_runtime: Runtime, what: str) -> None:
    name, changes, says = LOSSES[what]
    other = "network" if name == "cgroup" else "cgroup"
    bundle = any_runtime.bundle("true", **changes)
    refused(
        any_runtime, "--allow-degraded", other, "run", "--bundle", bundle, "w",
        status=4, says=says, hint=f"--allow-degraded {name}",
    )  # fmt: skip


@pytest.mark.parametrize("in_bundle", [False, True])
@pytest.mark.parametrize("what", LOSSES)
def test_what_may_be_missing_is_on_record_and_told_once(
    any_runtime: Runtime, what: str, in_bundle: bool
) -> None:
    name, changes, _ = LOSSES[what]
    words: list[str] = ["--allow-degraded", name]
    if in_bundle:
        words = []
        changes = changes | {"substrate": changes.get("substrate", {}) | {"allowDegraded": [name]}}
    bundle = any_runtime.bundle("sleep", "600", **changes)
    result = any_runtime(*words, "create", "--bundle", bundle, "w").ok()
    assert len(result.stderr.splitlines()) == 1
    (warning,) = warnings_of(result)
    assert warning.partition(":")[0].partition(".")[0] == name
    assert degraded(any_runtime, "w") == [name]
    assert any_runtime("start", "w").ok().stderr == ""


def test_a_warning_stays_out_of_a_json_log(any_runtime: Runtime) -> None:
    """An engine decodes the whole file as one object, which is an error's."""
    log = any_runtime.folder / "log"
    bundle = any_runtime.bundle("true", linux={"resources": {"pids": {"limit": 10}}})
    result = any_runtime(
        "--log", log, "--log-format", "json", "--allow-degraded", "cgroup",
        "run", "--bundle", bundle, "w",
    ).ok()  # fmt: skip
    assert len(warnings_of(result)) == 1
    assert not log.exists() or log.read_text(encoding="utf-8") == ""


def test_a_world_that_lost_nothing_has_no_record_and_no_warning(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sleep", "600")
    assert any_runtime("create", "--bundle", bundle, "w").ok().stderr == ""
    assert degraded(any_runtime, "w") == []


def test_a_network_that_cannot_be_filtered_is_no_network(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle(
        "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1; ip route; ip -6 route show table all",
        substrate=_FILTERED,
    )  # fmt: skip
    result = any_runtime("--allow-degraded", "network", "run", "--bundle", bundle, "w").ok()
    lines = result.stdout.split("\n")
    assert lines[0].strip() == "lo"
    # Nothing but loopback's own routes.
    assert all(not line or " lo " in f" {line} " for line in lines[1:]), result


@pytest.mark.parametrize(
    ("name", "sign", "changes"),
    [
        ("apparmor", "/sys/kernel/security/apparmor", {"process": {"apparmorProfile": "x"}}),
        ("selinux", "/sys/fs/selinux/enforce", {"process": {"selinuxLabel": "x_t"}}),
        ("selinux", "/sys/fs/selinux/enforce", {"linux": {"mountLabel": "x_t"}}),
    ],
)
def test_a_label_without_its_module_is_ignored_with_a_warning(
    any_runtime: Runtime, name: str, sign: str, changes: dict[str, Any]
) -> None:
    bundle = any_runtime.bundle("sleep", "600", **changes)
    if Path(sign).exists():
        refused(
            any_runtime, "run", "--bundle", bundle, "w", status=4, says="cannot be set by this ver"
        )
        return
    result = any_runtime("create", "--bundle", bundle, "w").ok()
    assert [warning.split(":")[0] for warning in warnings_of(result)] == [name]
    assert degraded(any_runtime, "w") == [name]


# --- file systems without id-mapped mounts --------------------------------------------------------


class OnRamfs:
    """Calls in a mount namespace where the project is a ramfs, which no ids can be mapped on."""

    def __init__(self, runtime: Runtime, owner: int) -> None:
        self._runtime = runtime
        self.project = runtime.folder / "project"
        self.project.mkdir()
        self._script = (
            f'mount -t ramfs ramfs "$0" && echo kept > "$0/file" && chown -R {owner}:{owner} "$0"'
            ' && exec "$@"'
        )

    def __call__(self, *words: str | Path) -> Result:
        unshare = ["unshare", "--mount", "--propagation=private", "sh", "-c", self._script]
        done = subprocess.run(
            [*unshare, str(self.project), *self._runtime.argv, *map(str, words)],
            capture_output=True, text=True, check=False, timeout=60, cwd=self._runtime.folder,
            env=self._runtime.environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Result(
            tuple(map(str, words)), done.returncode, done.stdout, done.stderr,
            self._runtime.folder / "unused",
        )  # fmt: skip

    def run(self, *words: str, allow: str | None = None, write: str = "layers") -> Result:
        allowed = [] if allow is None else ["--allow-degraded", allow]
        bundle = self._runtime.bundle(
            root=None, mounts=_HOST_MOUNTS, linux={"uidMappings": None, "gidMappings": None},
            substrate={"project": {"write": write}, "rootfs": {"kind": "host"}},
        )  # fmt: skip
        return self(*allowed, "run", "--bundle", bundle, "--project", self.project, "w", *words)


_HOST_MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
]
_WHO = "cat /proc/self/uid_map; cat file; echo changed > file"


@requires("root", *calls.LAYERED)
def test_a_project_of_roots_that_cannot_be_mapped_needs_host_uid_0(runtime: Runtime) -> None:
    on_ramfs = OnRamfs(runtime, owner=0)
    result = on_ramfs.run("sh", "-c", _WHO)
    assert result.status == 4, result
    message, hint = result.stderr.splitlines()
    assert "cannot show the project with mapped ids" in message
    assert "--allow-degraded host-uid-0" in hint
    assert runtime.worlds() == []


@requires("root", *calls.LAYERED)
def test_host_uid_0_allowed_is_told_and_is_what_it_says(runtime: Runtime) -> None:
    result = OnRamfs(runtime, owner=0).run("sh", "-c", _WHO, allow="host-uid-0").ok()
    assert result.stdout.split()[:2] == ["0", "0"]
    assert "kept" in result.stdout
    assert [warning.split(":")[0] for warning in warnings_of(result)] == ["host-uid-0"]


@requires("root", *calls.LAYERED)
def test_a_project_of_an_ordinary_user_needs_no_mapping(runtime: Runtime) -> None:
    result = OnRamfs(runtime, owner=4242).run("sh", "-c", _WHO).ok()
    assert result.stdout.split()[:3] == ["4242", "4242", "1"]
    assert warnings_of(result) == []


@requires("root", *calls.LAYERED)
def test_host_uid_0_allowed_and_not_needed_is_not_told(runtime: Runtime) -> None:
    result = OnRamfs(runtime, owner=4242).run("sh", "-c", _WHO, allow="host-uid-0").ok()
    assert result.stdout.split()[:3] == ["4242", "4242", "1"]
    assert warnings_of(result) == []


@requires("root", "idmapped_mounts")
@pytest.mark.parametrize("write", ["readonly", "live"])
def test_what_shows_as_nobodys_is_told(runtime: Runtime, write: str) -> None:
    result = OnRamfs(runtime, owner=0).run("stat", "-c", "%u", "file", write=write)
    if result.status:
        assert result.status == 4, result
        return
    assert result.stdout == "65534\n"
    assert len(warnings_of(result)) == 1, result


@pytest.mark.parametrize("option", [["--systemd-cgroup"], ["--cgroup-manager", "systemd"]])
def test_systemd_that_is_not_there_ends_the_call(any_runtime: Runtime, option: list[str]) -> None:
    if not any_runtime.is_rootless:
        hidden = 'mount -t tmpfs hidden /run && exec "$@"'
        any_runtime.start_with("unshare", "--mount", "sh", "-c", hidden, "sh")
    bundle = any_runtime.bundle("true")
    environment = {"XDG_RUNTIME_DIR": "/nowhere"}
    done = any_runtime(*option, "run", "--bundle", bundle, "w", env=environment)
    assert done.status == 4, done
    assert "the service manager of" in done.stderr
    assert "hint: use --cgroup-manager cgroupfs" in done.stderr
    assert any_runtime.worlds() == []
    # Who wants no cgroups at all needs nobody to make them.
    words = ("--systemd-cgroup", "--cgroup-manager", "disabled", "run", "--bundle", bundle, "w")
    any_runtime(*words).ok()


# --- names ----------------------------------------------------------------------------------------


def test_name_that_nobody_knows_is_an_error_with_those_that_are_known(
    any_runtime: Runtime,
) -> None:
    bundle = any_runtime.bundle("true")
    refused(
        any_runtime, "--allow-degraded", "cgruop", "run", "--bundle", bundle, "w",
        status=2, says="--allow-degraded cgruop: there is nothing of that name",
        hint="known are cgroup, .*host-uid-0",
    )  # fmt: skip
    bundle = any_runtime.bundle("true", substrate={"allowDegraded": ["cgroup", "cgruop"]})
    refused(
        any_runtime, "run", "--bundle", bundle, "w", status=2,
        says=r"allowDegraded\[1\]: expected one of cgroup, .*got the string \"cgruop\"",
    )  # fmt: skip


def test_one_controller_may_be_allowed_in_a_bundle(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("true", substrate={"allowDegraded": ["cgroup.memory", "limit"]})
    any_runtime("run", "--bundle", bundle, "w").ok()
