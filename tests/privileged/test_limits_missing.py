"""Where limits cannot be had, each is an error unless it is allowed by name; then told once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from substrate.host.probes import missing, remedy
from substrate.world.context import Context
from substrate.world.exec import ExecRequest, execute
from substrate.world.outcome import PROCESS
from substrate.world.overrides import Overrides
from tests.support import calls
from tests.support.features import requires
from tests.support.refusals import refused

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD, "no_cgroup2_controllers")


def resources(**changes: Any) -> dict[str, Any]:
    return {"linux": {"resources": changes}}


def ours(**limits: Any) -> dict[str, Any]:
    return {"substrate": {"limits": limits}}


DEVICE = {"major": 8, "minor": 0, "rate": 1000}

# What is asked for, and the name under which it may be missing (the whole "cgroup" always may).
ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "memory": (resources(memory={"limit": 1 << 26}), "cgroup.memory"),
    "reservation": (resources(memory={"reservation": 1 << 26}), "cgroup.memory"),
    "swap": (resources(memory={"limit": 1 << 26, "swap": 1 << 27}), "cgroup.memory"),
    "swappiness": (resources(memory={"swappiness": 10}), "cgroup.memory"),
    "shares": (resources(cpu={"shares": 512}), "cgroup.cpu"),
    "quota": (resources(cpu={"quota": 20000, "period": 100000}), "cgroup.cpu"),
    "idle": (resources(cpu={"idle": 1}), "cgroup.cpu"),
    "cpuset": (resources(cpu={"cpus": "0"}), "cgroup.cpuset"),
    "pids": (resources(pids={"limit": 10}), "cgroup.pids"),
    "weight": (resources(blockIO={"weight": 100}), "cgroup.io"),
    "throttle": (resources(blockIO={"throttleReadBpsDevice": [DEVICE]}), "cgroup.io"),
    "rdma": (resources(rdma={"mlx5_1": {"hcaHandles": 3}}), "cgroup.rdma"),
    "classID": (resources(network={"classID": 1048577}), "cgroup.network"),
    "unified": (resources(unified={"memory.high": "1000000"}), "cgroup.memory"),
    "our memory": (ours(memory=1 << 26), "cgroup.memory"),
    "our cpus": (ours(cpus=0.5), "cgroup.cpu"),
    "our pids": (ours(pids=10), "cgroup.pids"),
    "egress": (
        ours(egressBytes=1000) | {"hooks": {"poststart": [{"path": "/bin/true"}]}},
        "limit.egressBytes",
    ),
}


@pytest.mark.parametrize("what", ASKED)
def test_limit_that_cannot_be_had_is_an_error_and_allowed_by_name_is_told_once(
    any_runtime: Runtime, what: str
) -> None:
    changes, name = ASKED[what]
    whole = name.partition(".")[0]
    bundle = any_runtime.bundle("sleep", "600", **changes)
    # An ordinary user may have no cgroup at all, and then it is all of it that is missing.
    refused(
        any_runtime, "create", "--bundle", bundle, "w",
        status=4, says=".", hint=rf"--allow-degraded ({whole}|{name})(,|$)",
    )  # fmt: skip
    created = any_runtime("--allow-degraded", whole, "create", "--bundle", bundle, "w").ok()
    (warning,) = created.stderr.splitlines()
    assert warning.startswith(f"substrate-runtime: warning: {whole}")
    (entry,) = calls.state(any_runtime, "w")["substrate"]["degraded"]
    assert entry["name"] in (whole, name)
    assert warning == f"substrate-runtime: warning: {entry['name']}: {entry['reason']}"
    assert calls.state(any_runtime, "w")["substrate"]["cgroup"] == ""


@pytest.mark.parametrize("what", ASKED)
def test_other_limits_are_not_allowed_along(any_runtime: Runtime, what: str) -> None:
    changes, name = ASKED[what]
    other = "cgroup.misc" if name.startswith("cgroup") else "limit.output"
    bundle = any_runtime.bundle("true", **changes)
    refused(
        any_runtime, "--allow-degraded", other, "run", "--bundle", bundle, "w", status=4, says="."
    )


def test_any_limit_of_what_is_sent_holds_where_there_is_nobody_to_send_to(
    any_runtime: Runtime,
) -> None:
    bundle = any_runtime.bundle(
        "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1; ! ping -c1 -w1 192.0.2.1 2>&1",
        **ours(egressBytes=0),
    )  # fmt: skip
    done = any_runtime("run", "--bundle", bundle, "w").ok()
    assert done.stdout.split()[0] == "lo"
    assert done.stderr == ""
    shared = any_runtime.bundle("true", **ours(egressBytes=0))
    config = json.loads((shared / "config.json").read_text("utf-8"))
    linux = config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    (shared / "config.json").write_text(json.dumps(config), encoding="utf-8")
    refused(
        any_runtime, "run", "--bundle", shared, "w", status=4,
        says="egressBytes cannot be enforced", hint="limit.egressBytes",
    )  # fmt: skip


@pytest.mark.parametrize(
    "verb", [("pause", "w"), ("update", "--memory", "67108864", "w"), ("events", "--stats", "w")]
)
def test_verbs_that_need_a_cgroup_say_so(any_runtime: Runtime, verb: tuple[str, ...]) -> None:
    calls.run_detached(any_runtime, "w", "sleep", "600")
    done = any_runtime(*verb)
    assert done.status == 4
    assert "the world w has no cgroup" in done.stderr
    assert "substrate doctor" in done.stderr


def test_doctor_says_that_worlds_have_no_cgroup_here() -> None:
    assert "cgroup" in missing("cgroup2")
    assert remedy("cgroup2")


def test_what_a_command_used_is_told_by_wait4_where_there_is_no_cgroup(runtime: Runtime) -> None:
    calls.run_detached(runtime, "w", "sleep", "600")
    home = runtime.home
    context = Context(str(home / "state"), str(home / "data"), str(home / "cache"))
    script = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; exit 5"
    request = ExecRequest("w", overrides=Overrides(args=("sh", "-c", script)))
    done = execute(context, request, lambda _warning: None)
    assert done.status == 5
    assert (done.resources.cpu_source, done.resources.memory_source) == (PROCESS, PROCESS)
    assert (done.resources.cpu_ms or 0) > 10
    assert (done.resources.memory_peak or 0) > 100_000
    assert done.resources.oom_killed is None
    assert done.resources.to_json()["source"] == {"cpu_ms": "process", "memory_peak": "process"}
