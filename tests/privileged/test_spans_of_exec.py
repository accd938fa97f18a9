"""Each command of exec has a cgroup of its own below its world's; on a host of cgroup v2 alone."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from substrate.cgroups.spans import SpanCgroup, forgotten
from substrate.world.context import Context
from substrate.world.create import CreateRequest
from substrate.world.exec import ExecRequest, execute
from substrate.world.outcome import CGROUP, Outcome
from substrate.world.overrides import Overrides
from substrate.world.run import Manner, run
from tests.support import calls
from tests.support.cgroups import ended, sleeper
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires("root", "userns", "cgroup2.memory", "cgroup2.pids", "cgroup2.cpu")
MIB = 1 << 20
FILL = "head -c 60m /dev/zero | tail -c 60m > /dev/null"


def context_of(runtime: Runtime) -> Context:
    home = runtime.home
    return Context(str(home / "state"), str(home / "data"), str(home / "cache"))


def spans(cgroup: Path) -> list[str]:
    return sorted(path.name for path in cgroup.glob("span-*"))


def executed(runtime: Runtime, script: str) -> Outcome:
    request = ExecRequest("w", overrides=Overrides(args=("sh", "-c", script)))
    return execute(context_of(runtime), request, lambda _warning: None)


def begin(runtime: Runtime) -> Path:
    limits = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}, "pids": {"limit": 20},
              "cpu": {"quota": 50000, "period": 100000}}  # fmt: skip
    calls.run_detached(runtime, "w", "sleep", "600", linux={"resources": limits})
    return calls.cgroup_of(runtime, "w")


def test_command_is_born_in_its_own_cgroup_which_goes_with_it(runtime: Runtime) -> None:
    cgroup = begin(runtime)
    done = executed(runtime, "cat /proc/self/cgroup > /dev/shm/seen")
    assert done.status == 0
    seen = runtime("exec", "w", "cat", "/dev/shm/seen").ok().stdout
    assert seen.startswith("0::/span-")
    assert spans(cgroup) == []


def test_processor_time_and_survivors_are_told(runtime: Runtime) -> None:
    cgroup = begin(runtime)
    # A daemon does the work: wait4 would tell nothing of it.
    done = executed(runtime, "(setsid sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done;"
                             " touch /dev/shm/done; exec sleep 600' &);"
                             " while [ ! -e /dev/shm/done ]; do sleep 0.05; done")  # fmt: skip
    assert done.resources.cpu_source == CGROUP
    assert (done.resources.cpu_ms or 0) > 20
    assert done.resources.survivors == 1
    (span,) = spans(cgroup)
    (left,) = (cgroup / span / "cgroup.procs").read_text("utf-8").split()
    os.kill(int(left), signal.SIGKILL)
    calls.until_gone([int(left)])
    # What its last process has left goes with `gc`, or with the world.
    assert f"removed: cgroup {cgroup / span} " in runtime("gc").ok().stdout
    assert spans(cgroup) == []
    quiet = executed(runtime, "true").resources
    assert (quiet.survivors, quiet.oom_killed, quiet.throttled) == (0, False, False)
    assert quiet.limits_hit == ()


def test_limit_that_a_command_meets_is_told_once_and_not_to_the_next(runtime: Runtime) -> None:
    begin(runtime)
    done = executed(runtime, FILL)
    assert done.resources.oom_killed
    (hit,) = [hit for hit in done.resources.limits_hit if hit.name == "memory"]
    assert hit.limit == 32 * MIB
    assert hit.sentence.startswith("out of memory: the limit of 32 MiB was reached")
    later = executed(runtime, "true").resources
    assert not later.oom_killed
    assert [hit.name for hit in later.limits_hit if hit.is_fatal] == []
    told = runtime("exec", "w", "sh", "-c", FILL)
    assert "warning: out of memory: the limit of 32 MiB was reached" in told.stderr
    assert calls.state(runtime, "w")["status"] == "running"


def test_memory_of_a_command_in_an_idle_world_is_its_own(runtime: Runtime) -> None:
    limits = {"memory": {"limit": 48 * MIB, "swap": 48 * MIB}}
    bundle = runtime.bundle(linux={"resources": limits})
    runtime("run", "--detach", "--idle", "--bundle", bundle, "w").ok()
    greedy = executed(runtime, "head -c 20m /dev/zero | tail -c 20m > /dev/null").resources
    assert greedy.memory_source == CGROUP
    assert (greedy.memory_peak or 0) > 16 * MIB
    modest = executed(runtime, "true").resources
    assert modest.memory_source == CGROUP
    assert 0 < (modest.memory_peak or 0) < 8 * MIB
    # Others meet the limit while this one runs, and it is not told that it did.
    killed = calls.begin(runtime, "exec", "w", "sh", "-c", f"{FILL}; touch /dev/shm/met")
    waits = "while [ ! -e /dev/shm/met ]; do sleep 0.05; done"
    patient = executed(runtime, waits).resources
    assert b"out of memory" in killed.communicate(timeout=20)[1]
    assert patient.oom_killed is False
    assert [hit.name for hit in patient.limits_hit if hit.is_fatal] == []
    update = runtime("update", "--memory", str(40 * MIB), "w")
    assert update.ok().status == 0
    seen = runtime("exec", "w", "sh", "-c", "cat /proc/self/cgroup").ok().stdout
    assert "span-" in seen
    runtime("delete", "--force", "w").ok()


def test_flood_of_output_ends_the_command_with_its_daemons(runtime: Runtime) -> None:
    bundle = runtime.bundle(
        "sleep", "600",
        substrate={"limits": {"output": 1000}, "allowDegraded": ["limit.output"]},
    )  # fmt: skip
    runtime("run", "--detach", "-b", bundle, "w").ok()
    done = runtime("exec", "w", "sh", "-c", "(setsid sleep 601 &); (setsid yes &); sleep 600")
    assert done.status == 128 + 9
    assert len(runtime("ps", "--format", "json", "w").ok().json()) == 1
    assert spans(calls.cgroup_of(runtime, "w")) == []


def test_detached_command_is_in_the_worlds_own_cgroup(runtime: Runtime) -> None:
    cgroup = begin(runtime)
    runtime("exec", "--detach", "w", "sleep", "600").ok()
    assert spans(cgroup) == []
    assert len((cgroup / "cgroup.procs").read_text("utf-8").split()) == 2


def test_cgroup_of_a_killed_exec_is_found_and_one_in_use_is_left(runtime: Runtime) -> None:
    cgroup = begin(runtime)
    owner = str(runtime.home / "state/w")
    span = SpanCgroup.make(str(cgroup), owner, "mine")
    assert span is not None
    os.mkdir(cgroup / "span-forgotten", 0o755)
    assert forgotten(span.world, remove=True) == [str(cgroup / "span-forgotten")]
    pid = sleeper(span.own)
    assert span.survivors() == [pid]
    span.kill()
    ended(pid)
    span.close()
    assert spans(cgroup) == []


def test_run_tells_what_its_world_has_used(runtime: Runtime) -> None:
    limits = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    bundle = runtime.bundle("sh", "-c", FILL, linux={"resources": limits})
    request = CreateRequest("w", str(bundle), listening=False, attended=True)
    done = run(context_of(runtime), request, lambda _warning: None, Manner())
    assert done.resources.oom_killed
    assert done.resources.cpu_source == CGROUP
    assert [hit.name for hit in done.resources.limits_hit] == ["memory"]
    assert done.resources.to_json()["oom_killed"] is True


SIGNALS = {"TERM": 0, "KILL": 0}


@pytest.mark.parametrize("number", SIGNALS)
def test_kill_all_misses_nobody_and_may_be_repeated(runtime: Runtime, number: str) -> None:
    shared = [{"type": kind} for kind in ("mount", "ipc", "uts", "cgroup")]
    bomb = "while :; do (setsid sleep 0.2 &); sleep 0.01; done"
    script = f"({bomb}) & ({bomb}) & wait"
    bundle = runtime.bundle(
        "sh", "-c", script,
        linux={"namespaces": shared, "uidMappings": None, "gidMappings": None},
    )  # fmt: skip
    runtime("run", "--detach", "-b", bundle, "w").ok()
    procs = calls.cgroup_of(runtime, "w") / "cgroup.procs"
    calls.until(lambda: len(procs.read_text("utf-8").split()) > 6, "they multiply")
    runtime("kill", "--all", "w", number).ok()
    calls.until(lambda: not procs.read_text("utf-8"), "all are gone")
    runtime("kill", "--all", "w", number).ok()


def test_signal_to_all_of_a_paused_world_leaves_it_paused(runtime: Runtime) -> None:
    begin(runtime)
    runtime("pause", "w").ok()
    runtime("kill", "--all", "w", "USR1").ok()
    assert calls.state(runtime, "w")["status"] == "paused"
    runtime("kill", "--all", "w", "KILL").ok()
    calls.until_stopped(runtime, "w")
