"""What is done to make a world, as reviewable text; see tests/golden/plans/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from substrate.isolation.conversation import compile_plan
from substrate.isolation.entering import EnteredWorld, exec_sequence, hook_sequence
from substrate.isolation.sequence import create_sequence
from substrate.isolation.staging import stage_sequence, staged_mounts
from tests.support.plan_text import plan_text
from tests.support.worlds import FILTER, FixedHost, fixed_host, oci, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.bundle.model import Config
    from tests.support.golden import Golden

_ALL = ("mount", "pid", "network", "ipc", "uts", "cgroup")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FixedHost]:
    with fixed_host(monkeypatch) as made:
        yield made


def compared(golden: Golden, host: FixedHost, name: str, config: Config, **demand: Any) -> None:
    spec = host.spec(config, **demand)
    text = plan_text(compile_plan(create_sequence(spec)))
    if staged_mounts(spec):
        stage = plan_text(compile_plan(stage_sequence(spec)))
        text = f"STAGE\n\n{stage}\nWORLD\n\n{text}"
    golden(f"plans/{name}.txt", host.shown(text))


@pytest.mark.parametrize("bundle", ["host-project", "readonly-review", "locked-down"])
def test_a_bundle_that_shows_the_host(golden: Golden, host: FixedHost, bundle: str) -> None:
    compared(golden, host, bundle, shipped(bundle))


def test_a_project_of_an_ordinary_user(golden: Golden, host: FixedHost) -> None:
    compared(golden, host, "host-project-of-a-user", shipped("host-project"), owner=(1000, 1000))


@pytest.mark.parametrize("bundle", ["host-project", "rootless"])
def test_a_bundle_without_privilege(golden: Golden, host: FixedHost, bundle: str) -> None:
    name = "rootless" if bundle == "rootless" else f"{bundle}-rootless"
    compared(golden, host, name, shipped(bundle), privileged=False, owner=(1000, 1000))


def test_a_bundle_with_its_own_root(golden: Golden, host: FixedHost) -> None:
    config = shipped("busybox", root={"path": str(host.folder), "readonly": True})
    compared(golden, host, "busybox", config)


def test_a_plain_oci_configuration(golden: Golden, host: FixedHost) -> None:
    compared(golden, host, "oci", oci(host.folder), listening=True)


def test_a_configuration_as_podman_writes_it(golden: Golden, host: FixedHost) -> None:
    linux = {
        "namespaces": [
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            {"type": "network", "path": "/run/netns/cni-1"},
        ],
        "uidMappings": None,
        "gidMappings": None,
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 0,
                     "gid": 0, "fileMode": 0o666}],
        "sysctl": {"net.ipv4.ping_group_range": "0 0"},
        "rootfsPropagation": "rslave",
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    }  # fmt: skip
    process = {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 0, "gid": 0, "additionalGids": [1, 2]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
        "capabilities": {
            name: ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
            for name in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": False,
    }
    hooks = {"createRuntime": [{"path": "/usr/bin/cni"}]}
    config = oci(host.folder, linux=linux, process=process, hooks=hooks,
                 root={"path": str(host.folder), "readonly": False})  # fmt: skip
    compared(golden, host, "podman", config, listening=True, preserve_fds=2)


def test_a_world_without_a_process(golden: Golden, host: FixedHost) -> None:
    config = oci(host.folder, process=None, substrate={"init": True})
    compared(golden, host, "no-process", config, listening=True)


def test_a_further_process(golden: Golden, host: FixedHost) -> None:
    process = oci(host.folder).process
    assert process is not None
    steps = exec_sequence(process, EnteredWorld(("user", *_ALL)), FILTER)
    golden("plans/exec.txt", host.shown(plan_text(compile_plan(steps))))


def test_a_hook_in_the_world(golden: Golden) -> None:
    world = EnteredWorld(("user", *_ALL), into_cgroup=True)
    steps = hook_sequence(world, ("nvidia", "configure"), ("A=b",), "/usr/bin/nvidia")
    golden("plans/create-container-hook.txt", plan_text(compile_plan(steps)))
