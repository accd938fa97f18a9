"""gc and the cgroups of worlds that are gone; on a host of cgroup v2 alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.cgroups.hierarchy import find_hierarchy
from substrate.cgroups.owned import OWNER_MARKS
from tests.support import calls, injection
from tests.support.cgroups import ended, make, sleeper
from tests.support.features import requires

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires("root", "userns", "cgroup2.memory", "cgroup2.pids", "cgroup2.cpu")
LIMITED = {"resources": {"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}}


def test_cgroup_of_a_world_whose_state_is_gone_is_ended_and_removed(runtime: Runtime) -> None:
    lost = calls.run_detached(runtime, "lost", "sleep", "600", linux=LIMITED)
    calls.run_detached(runtime, "living", "sleep", "600", linux=LIMITED)
    cgroup, living = calls.cgroup_of(runtime, "lost"), calls.cgroup_of(runtime, "living")
    shutil.rmtree(runtime.home / "state/lost")
    (found,) = runtime("gc", "--json", "--dry-run").ok().json()
    assert (found["kind"], found["path"], found["outcome"]) == ("cgroup", str(cgroup), "found")
    assert f"rmdir {cgroup}" in found["command"]
    assert cgroup.exists()
    assert runtime("gc").ok().stdout.startswith(f"removed: cgroup {cgroup} ")
    assert not cgroup.exists()
    calls.until_gone([lost["pid"]])
    assert living.exists()
    assert calls.state(runtime, "living")["status"] == "running"
    assert runtime("gc").ok().stdout == ""
    assert runtime.worlds() == ["living"]


def test_former_cgroup_of_a_world_with_another_one_goes(runtime: Runtime) -> None:
    calls.run_detached(runtime, "w", "sleep", "600", linux=LIMITED)
    cgroup = calls.cgroup_of(runtime, "w")
    shutil.rmtree(runtime.home / "state/w")
    elsewhere = LIMITED | {"cgroupsPath": "/elsewhere"}
    calls.run_detached(runtime, "w", "sleep", "600", linux=elsewhere)
    assert calls.cgroup_of(runtime, "w") != cgroup
    assert runtime("gc").ok().stdout.startswith(f"removed: cgroup {cgroup} ")
    assert not cgroup.exists()
    assert calls.state(runtime, "w")["status"] == "running"


def test_cgroups_of_others_stay(runtime: Runtime) -> None:
    mount = find_hierarchy().mount
    plain = Path(f"{mount}/theirs")
    plain.mkdir()
    with make("of-another-root") as other:
        pid = sleeper(other)
        assert runtime("gc").ok().stdout == ""
        assert plain.exists()
        assert other.processes() == [pid]
        other.kill()
        ended(pid)
        other.remove()
    Path(f"{mount}/substrate").rmdir()
    plain.rmdir()


def test_mark_that_somebody_else_could_have_set_is_not_believed(runtime: Runtime) -> None:
    directory = Path(f"{find_hierarchy().mount}/delegated")
    directory.mkdir()
    try:
        os.setxattr(directory, OWNER_MARKS[1], os.fsencode(f"{runtime.home}/state/w"))
        os.chown(directory, 4242, 4242)
        assert runtime("gc").ok().stdout == ""
        assert directory.exists()
        os.chown(directory, 0, 0)
        assert runtime("gc").ok().stdout.startswith(f"removed: cgroup {directory} ")
    finally:
        if directory.exists():
            directory.rmdir()


@requires("strace")
@pytest.mark.parametrize("verb", ["create", "run"])
def test_no_cgroup_is_left_by_a_kill_at_any_step(runtime: Runtime, verb: str) -> None:
    bundle = runtime.bundle("true", linux=LIMITED)
    words = (verb, "-b", bundle, "w")
    mount = find_hierarchy().mount
    before = {folder for folder, _, _ in os.walk(mount)}
    steps = injection.steps_of(runtime, runtime.folder / "trace", *words)
    runtime("delete", "--force", "w").ok()
    for step in steps[:: max(1, len(steps) // 6)]:
        injection.traced(runtime, runtime.folder / "trace", step, *words)
        runtime("gc").ok()
        if runtime.worlds():
            # Whole, or its process has not noticed its runtime's end: then it soon has.
            calls.until(lambda: _settled(runtime), "the world has settled")
            runtime("gc").ok()
            runtime("delete", "--force", "w").ok()
        assert {folder for folder, _, _ in os.walk(mount)} == before, step


def _settled(runtime: Runtime) -> bool:
    state = calls.state(runtime, "w")
    return (runtime.home / "state/w/gate").exists() or not calls.is_running(state["pid"])
