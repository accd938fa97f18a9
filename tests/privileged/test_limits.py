"""Limits of a world hold, are told, and leave no cgroup behind; on a host of cgroup v2 alone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import calls
from tests.support.features import requires

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires("root", "userns", "cgroup2.memory", "cgroup2.pids", "cgroup2.cpu")

MIB = 1 << 20
_FILL = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60"


def limited(runtime: Runtime, *args: str, **resources: Any) -> Path:
    return runtime.bundle(*args, linux={"resources": resources})


def cgroup_of(runtime: Runtime, world: str) -> Path:
    return Path(calls.state(runtime, world)["substrate"]["cgroup"])


def test_memory_limit_kills_the_payload_alone_and_says_so(runtime: Runtime) -> None:
    bundle = limited(runtime, "sh", "-c", f"echo before; {_FILL}; echo after",
                     memory={"limit": 32 * MIB, "swap": 32 * MIB})  # fmt: skip
    done = runtime("run", "--bundle", bundle, "w")
    assert "before\n" in done.stdout
    assert re.search(r"warning: .*memory.*32", done.stderr), done.stderr
    fits = limited(runtime, "sh", "-c", f"{_FILL.replace('60', '8')}; echo after",
                   memory={"limit": 32 * MIB, "swap": 32 * MIB})  # fmt: skip
    done = runtime("run", "--bundle", fits, "w").ok()
    assert done.stdout == "after\n"
    assert "memory" not in done.stderr


def test_pids_limit_stops_a_fork_bomb(runtime: Runtime) -> None:
    script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo made"
    bundle = limited(runtime, "sh", "-c", script, pids={"limit": 10})
    done = runtime("run", "--bundle", bundle, "w")
    assert "fork" in done.stderr
    assert "warning" in done.stderr


def test_values_are_those_of_the_bundle_and_all_of_a_world_is_in_its_cgroup(
    runtime: Runtime,
) -> None:
    bundle = limited(
        runtime, "sleep", "600", memory={"limit": 64 * MIB}, pids={"limit": 50},
        cpu={"quota": 20000, "period": 100000},
    )  # fmt: skip
    runtime("run", "--detach", "--bundle", bundle, "w").ok()
    cgroup = cgroup_of(runtime, "w")
    assert (cgroup / "memory.max").read_text("utf-8") == f"{64 * MIB}\n"
    assert (cgroup / "pids.max").read_text("utf-8") == "50\n"
    assert (cgroup / "cpu.max").read_text("utf-8") == "20000 100000\n"
    pid = calls.state(runtime, "w")["pid"]
    assert str(pid) in (cgroup / "cgroup.procs").read_text("utf-8").split()
    seen = runtime("exec", "w", "cat", "/proc/self/cgroup").ok().stdout
    assert seen == "0::/\n"
    calls_in = runtime("exec", "--detach", "w", "sleep", "600").ok()
    assert calls_in.status == 0
    assert len(runtime("ps", "--format", "json", "w").ok().json()) == 2
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()
    assert not cgroup.parent.exists() or os.listdir(cgroup.parent) is not None


def test_a_world_that_shares_its_pid_namespace_ends_as_a_whole(runtime: Runtime) -> None:
    shared = [{"type": kind} for kind in ("mount", "ipc", "uts", "cgroup")]
    bundle = runtime.bundle(
        "sh", "-c", "sleep 634 & sleep 634 & wait",
        linux={"namespaces": shared, "uidMappings": None, "gidMappings": None},
    )  # fmt: skip
    runtime("run", "--detach", "--bundle", bundle, "w").ok()
    cgroup = cgroup_of(runtime, "w")
    assert len((cgroup / "cgroup.procs").read_text("utf-8").split()) == 3
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()
    assert "sleep\x00634" not in "".join(
        path.read_text("utf-8", "replace") for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    )  # fmt: skip
