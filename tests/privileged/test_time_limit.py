"""Limits that need no cgroup: the time of a world, and its open files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from substrate.kernel import procfs
from tests.support import calls
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)


def in_time(runtime: Runtime, seconds: float, *args: str) -> Path:
    return runtime.bundle(*args, substrate={"limits": {"wallTime": seconds}})


def test_world_is_ended_with_all_its_processes_when_its_time_is_over(any_runtime: Runtime) -> None:
    script = (
        "(setsid sleep 611 &) ; (setsid sh -c 'trap : TERM; sleep 611; sleep 611' &) ; sleep 60"
    )
    began = time.monotonic()
    done = any_runtime("run", "--bundle", in_time(any_runtime, 0.7, "sh", "-c", script), "w")
    took = time.monotonic() - began
    assert done.status == 128 + 9
    assert "out of time: the limit of 0.7 s was reached and the world was ended" in done.stderr
    assert 0.7 <= took < 0.7 + 5
    assert any_runtime.worlds() == []


def test_detached_world_is_ended_without_the_runtime(any_runtime: Runtime) -> None:
    bundle = in_time(any_runtime, 0.5, "sleep", "60")
    any_runtime("run", "--detach", "--bundle", bundle, "w").ok()
    calls.until_stopped(any_runtime, "w")


def test_created_world_has_its_time_from_its_start(any_runtime: Runtime) -> None:
    bundle = in_time(any_runtime, 0.5, "sleep", "60")
    any_runtime("create", "--bundle", bundle, "w").ok()
    time.sleep(0.6)
    assert calls.state(any_runtime, "w")["status"] == "created"
    any_runtime("start", "w").ok()
    calls.until_stopped(any_runtime, "w")


def test_world_that_ends_in_time_is_left_alone_and_so_is_the_machine(any_runtime: Runtime) -> None:
    done = any_runtime("run", "--bundle", in_time(any_runtime, 600, "echo", "in time"), "w").ok()
    assert (done.stdout, done.stderr) == ("in time\n", "")


def test_open_files_are_limited(any_runtime: Runtime) -> None:
    limits = {"limits": {"openFiles": 20}}
    bundle = any_runtime.bundle("sh", "-c", "ulimit -n; ulimit -Hn", substrate=limits)
    assert any_runtime("run", "--bundle", bundle, "w").ok().stdout == "20\n20\n"


def test_whole_tree_is_gone_within_200_ms_of_the_time(any_runtime: Runtime) -> None:
    """Daemonised processes too; the best of three, since the machine may have been busy."""
    late: list[float] = []
    for number in range(3):
        script = (
            "i=0; while [ $i -lt 8 ]; do (setsid sh -c 'trap : TERM HUP; sleep 612; sleep 612' &);"
            " i=$((i+1)); done; echo ready; sleep 612"
        )
        world = f"w{number}"
        bundle = in_time(any_runtime, 2, "sh", "-c", script)
        any_runtime("create", "--bundle", bundle, world).ok()
        pid = calls.state(any_runtime, world)["pid"]
        began = time.monotonic()
        any_runtime("start", world).ok()
        started = time.monotonic()
        members: set[int] = set()
        while calls.is_running(pid):
            members |= set(procfs.descendants(pid)) | {pid}
            time.sleep(0.01)
        calls.until_gone(members)
        over = time.monotonic()
        assert len(members) >= 9
        assert over - began >= 2
        late.append(over - started - 2)
    assert min(late) < 0.2, late
