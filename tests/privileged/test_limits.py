"""Limits of a world hold, are told, and leave no cgroup behind; on a host of cgroup v2 alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import calls
from tests.support.features import requires
from tests.support.runtime import PYTHON

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires("root", "userns", "cgroup2.memory", "cgroup2.pids", "cgroup2.cpu")

MIB = 1 << 20
_FILL = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60"


def limited(runtime: Runtime, *args: str, **resources: Any) -> Path:
    return runtime.bundle(*args, linux={"resources": resources})


def test_memory_limit_kills_the_payload_alone_and_says_so(runtime: Runtime) -> None:
    bundle = limited(runtime, "sh", "-c", f"echo before; {_FILL}; echo after",
                     memory={"limit": 32 * MIB, "swap": 32 * MIB})  # fmt: skip
    done = runtime("run", "--bundle", bundle, "w")
    assert "before\n" in done.stdout
    told = r"out of memory: the limit of 32 MiB was reached \(peak 32 MiB\).* killed 1 process"
    assert re.search(told, done.stderr), done.stderr
    # The shell, of the same world, lived on.
    assert "after\n" in done.stdout
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
    cgroup = calls.cgroup_of(runtime, "w")
    assert (cgroup / "memory.max").read_text("utf-8") == f"{64 * MIB}\n"
    assert (cgroup / "pids.max").read_text("utf-8") == "50\n"
    assert (cgroup / "cpu.max").read_text("utf-8") == "20000 100000\n"
    pid = calls.state(runtime, "w")["pid"]
    assert str(pid) in (cgroup / "cgroup.procs").read_text("utf-8").split()
    seen = runtime("exec", "w", "cat", "/proc/self/cgroup").ok().stdout
    assert seen.startswith("0::/span-")
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
    cgroup = calls.cgroup_of(runtime, "w")
    assert len((cgroup / "cgroup.procs").read_text("utf-8").split()) == 3
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()
    assert "sleep\x00634" not in "".join(
        path.read_text("utf-8", "replace") for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    )  # fmt: skip


def test_a_paused_world_stands_still_and_goes_on(runtime: Runtime) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.01; done"
    runtime("run", "--detach", "--bundle", runtime.bundle("sh", "-c", script), "w").ok()
    counted = ("exec", "--ignore-paused", "w", "cat", "/dev/shm/count")
    runtime("pause", "w").ok()
    assert calls.state(runtime, "w")["status"] == "paused"
    assert runtime("exec", "w", "true").status == 1
    assert runtime("pause", "w").status == 1
    runtime("resume", "w").ok()
    assert calls.state(runtime, "w")["status"] == "running"
    first = int(runtime(*counted).ok().stdout)
    calls.until(lambda: int(runtime(*counted).ok().stdout or 0) > first, "it counts on")
    runtime("pause", "w").ok()
    runtime("delete", "--force", "w").ok()


def test_limits_are_updated_at_once_and_survive_the_next_update(runtime: Runtime) -> None:
    bundle = limited(runtime, "sleep", "600", memory={"limit": 64 * MIB}, pids={"limit": 50})
    runtime("run", "--detach", "--bundle", bundle, "w").ok()
    cgroup = calls.cgroup_of(runtime, "w")
    runtime("update", "--memory", str(96 * MIB), "w").ok()
    change = '{"cpu": {"quota": 30000, "period": 100000}}'
    runtime("update", "--resources", "-", "w", stdin=change).ok()
    assert (cgroup / "memory.max").read_text("utf-8") == f"{96 * MIB}\n"
    assert (cgroup / "cpu.max").read_text("utf-8") == "30000 100000\n"
    assert (cgroup / "pids.max").read_text("utf-8") == "50\n"
    wrong = runtime("update", "--resources", "-", "w", stdin='{"pids": {"limit": "x"}}')
    assert wrong.status == 2
    assert "$.pids.limit" in wrong.stderr


def test_events_tell_the_figures_of_a_world(runtime: Runtime) -> None:
    bundle = limited(runtime, "sleep", "600", pids={"limit": 50})
    runtime("run", "--detach", "--bundle", bundle, "w").ok()
    told = runtime("events", "--stats", "w").ok().json()
    assert (told["type"], told["id"]) == ("stats", "w")
    assert told["data"]["pids"]["limit"] == 50
    assert told["data"]["pids"]["current"] == 1


def test_processor_time_is_limited(runtime: Runtime) -> None:
    script = "timeout 2 sh -c 'while :; do :; done'; cat /proc/uptime >/dev/null; times"
    free = limited(runtime, "sh", "-c", script)
    slow = limited(runtime, "sh", "-c", script, cpu={"quota": 20000, "period": 100000})
    spent: list[float] = []
    for bundle in (free, slow):
        done = runtime("run", "--keep", "--bundle", bundle, f"w{len(spent)}")
        minutes, seconds = re.findall(r"(\d+)m([\d.]+)s", done.stdout.splitlines()[1])[0]
        spent.append(int(minutes) * 60 + float(seconds))
    # 20 % of 2 s, ±3 points of the 2 s and what the shells themselves took.
    assert spent[1] < 0.2 * 2 + 0.2, spent
    assert spent[0] > 2 * spent[1], spent


_MANY = """
import os, sys
from substrate.world.context import Context, find_directories
from substrate.world.create import CreateRequest
from substrate.world.delete import delete
from substrate.world.run import Manner, run
# The worlds do not hold the pipe open.
pipe = os.dup(1)
os.dup2(os.open("/dev/null", os.O_RDWR), 1)
context = Context(*find_directories(None, {"SUBSTRATE_HOME": sys.argv[1]}))
bundle, first = sys.argv[2], int(sys.argv[3])
names = [f"w{number}" for number in range(first, first + 50)]
for name in names:
    request = CreateRequest(name, bundle, listening=False)
    run(context, request, print, Manner(detach=True))
os.write(pipe, b"all\\n")
sys.stdin.readline()
for name in names:
    delete(context, name, print, force=True)
"""


def test_200_worlds_in_parallel_leave_no_cgroup(runtime: Runtime) -> None:
    bundle = limited(runtime, "sleep", "600", memory={"limit": 16 * MIB}, pids={"limit": 5})
    makers = [
        subprocess.Popen(
            [PYTHON, "-c", _MANY, runtime.home, bundle, str(first)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=calls.bare(runtime)[1],
        )
        for first in range(0, 200, 50)
    ]  # fmt: skip
    try:
        said = [maker.stdout.readline() for maker in makers if maker.stdout]
        (folder,) = {calls.cgroup_of(runtime, world).parent for world in ("w0", "w199")}
        limits = [path.read_text("utf-8") for path in folder.glob("*/memory.max")]
    finally:
        for maker in makers:
            maker.communicate("go\n")
    assert said == ["all\n"] * 4
    assert limits == [f"{16 * MIB}\n"] * 200
    assert [maker.returncode for maker in makers] == [0] * 4
    assert runtime.worlds() == []
    assert not folder.exists()
