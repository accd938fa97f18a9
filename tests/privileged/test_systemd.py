"""Worlds whose cgroups systemd makes; with a real systemd as process 1 (`ci/vm --systemd`)."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from substrate.cgroups import bus, scope
from substrate.cgroups.hierarchy import Place, find_hierarchy
from substrate.cgroups.limits import cgroup_files
from substrate.cgroups.owned import remove_world
from substrate.cgroups.units import Unit
from substrate.errors import SubstrateError
from substrate.host import systemd as doors
from substrate.kernel import cgroup2
from tests.support import calls, systemd
from tests.support.cgroups import MIB, ended, sleeper
from tests.support.features import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.runtime import Result, Runtime

pytestmark = requires(
    "root", "userns", "systemd", "cgroup2.memory", "cgroup2.cpu", "cgroup2.pids", "cgroup2.io"
)
_SHOWN = ("Slice", "Delegate", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight")
_LIMITS: dict[str, Any] = {
    "memory": {"limit": 64 * MIB, "reservation": 8 * MIB},
    "pids": {"limit": 50},
    "cpu": {"quota": 20000, "period": 50000, "shares": 512},
    "unified": {"memory.high": "48M", "memory.oom.group": "1"},
}
_FILES = {
    "memory.max": str(64 * MIB),
    "memory.low": str(8 * MIB),
    "memory.high": str(48 * MIB),
    "memory.oom.group": "1",
    "pids.max": "50",
    "cpu.max": "20000 50000",
    "cpu.weight": "59",
}
_OWNER = "/run/substrate/by systemd"
_UNIT = Unit(doors.SYSTEM, "system.slice", "substrate-by-hand.scope")


def by_systemd(runtime: Runtime, *words: str | Path, **options: Any) -> Result:
    return runtime("--systemd-cgroup", *words, **options)


def run_detached(runtime: Runtime, world: str, *args: str, **linux: Any) -> tuple[Path, str]:
    """Return the cgroup and the unit of a new world."""
    bundle = runtime.bundle(*(args or ("sleep", "600")), linux=linux)
    by_systemd(runtime, "run", "--detach", "--bundle", bundle, world).ok()
    own = calls.state(runtime, world)["substrate"]
    return Path(own["cgroup"]), own["unit"].partition("/")[2]


def files_of(cgroup: Path) -> dict[str, str]:
    return {name: (cgroup / name).read_text("utf-8").strip() for name in _FILES}


def place() -> Place:
    return Place(f"{find_hierarchy().mount}/system.slice/{_UNIT.name}", ("world",))


def assert_nothing_is_left() -> None:
    systemd.until_forgotten(_UNIT.name)
    assert not os.path.exists(place().base)


def test_a_world_is_a_scope_that_knows_its_limits(runtime: Runtime) -> None:
    cgroup, unit = run_detached(runtime, "w", resources=_LIMITS)
    assert cgroup == Path("/sys/fs/cgroup/system.slice") / unit / "world"
    assert systemd.show(unit, *_SHOWN, "ActiveState") == {
        "Slice": "system.slice", "Delegate": "yes", "MemoryMax": str(80 * MIB), "TasksMax": "51",
        "CPUQuotaPerSecUSec": "400ms", "CPUWeight": "59", "ActiveState": "active",
    }  # fmt: skip
    assert files_of(cgroup) == _FILES
    pid = calls.state(runtime, "w")["pid"]
    assert (cgroup / "cgroup.procs").read_text("utf-8").split() == [str(pid)]
    runtime("exec", "--detach", "w", "sleep", "600").ok()
    assert len((cgroup / "cgroup.procs").read_text("utf-8").split()) == 2
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()
    systemd.until_forgotten(unit)


def test_limits_and_their_updates_survive_a_daemon_reload(runtime: Runtime) -> None:
    cgroup, unit = run_detached(runtime, "w", resources=_LIMITS)
    systemd.systemctl("daemon-reload")
    assert files_of(cgroup) == _FILES
    change = '{"memory": {"limit": 100663296}, "cpu": {"quota": 30000}, "pids": {"limit": 60}}'
    runtime("update", "--resources", "-", "w", stdin=change).ok()
    changed = _FILES | {"memory.max": "100663296", "cpu.max": "30000 50000", "pids.max": "60"}
    assert files_of(cgroup) == changed
    systemd.systemctl("daemon-reload")
    assert files_of(cgroup) == changed
    assert systemd.show(unit, "TasksMax") == {"TasksMax": "61"}
    # What only the file says is not undone either, and a neighbour's start changes nothing.
    run_detached(runtime, "neighbour")
    assert files_of(cgroup) == changed


def test_a_controller_that_systemd_does_not_hand_out_is_a_loss(runtime: Runtime) -> None:
    rdma = {"resources": {"rdma": {"mlx4_0": {"hcaHandles": 2}}}}
    bundle = runtime.bundle("true", linux=rdma)
    refused = by_systemd(runtime, "run", "--bundle", bundle, "w")
    assert refused.status == 4
    assert "systemd does not hand it out" in refused.stderr
    words = ("--allow-degraded", "cgroup.rdma", "run", "--bundle", bundle, "w")
    assert "rdma" in by_systemd(runtime, *words).ok().stderr


def test_the_bundle_names_slice_and_unit(runtime: Runtime) -> None:
    path = "system-substratetest.slice:pre:mine"
    cgroup, unit = run_detached(runtime, "w", cgroupsPath=path)
    assert unit == "pre-mine.scope"
    directory = Path("/sys/fs/cgroup/system.slice/system-substratetest.slice")
    assert cgroup == directory / "pre-mine.scope/world"
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()
    systemd.systemctl("stop", "system-substratetest.slice")
    calls.until(lambda: not directory.exists(), "the slice is gone")


@pytest.mark.parametrize(
    "path", ["/absolute", "a:b", "a--b.slice:p:n", "noslice:p:n", "a.slice:p:n/m",
             "a.slice:p:", "a.slice:p:s.slice", "a.slice:p:sp ace"],
)  # fmt: skip
def test_a_bad_path_is_named_and_nothing_is_made(runtime: Runtime, path: str) -> None:
    before = systemd.scopes()
    bundle = runtime.bundle("true", linux={"cgroupsPath": path})
    refused = by_systemd(runtime, "run", "--bundle", bundle, "w")
    assert refused.status == 2, refused
    assert "SLICE.slice:PREFIX:NAME" in refused.stderr
    assert systemd.scopes() == before


def test_a_unit_of_somebody_else_is_neither_taken_nor_stopped(runtime: Runtime) -> None:
    with subprocess.Popen(
        ["systemd-run", "--quiet", "--scope", "--unit=pre-theirs.scope", "sleep", "600"]
    ) as theirs:
        calls.until(lambda: systemd.is_loaded("pre-theirs.scope"), "their scope is there")
        bundle = runtime.bundle("true", linux={"cgroupsPath": "system.slice:pre:theirs"})
        refused = by_systemd(runtime, "run", "--bundle", bundle, "w")
        assert refused.status == 5, refused
        assert "the unit pre-theirs.scope exists already" in refused.stderr
        assert runtime.worlds() == []
        assert theirs.poll() is None
        assert systemd.show("pre-theirs.scope", "ActiveState") == {"ActiveState": "active"}
        theirs.kill()
    systemd.until_forgotten("pre-theirs.scope")


def test_what_was_killed_for_memory_is_told_and_forgotten(runtime: Runtime) -> None:
    fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo after"
    resources = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    bundle = runtime.bundle("sh", "-c", fill, linux={"resources": resources})
    before = systemd.scopes()
    done = by_systemd(runtime, "run", "--bundle", bundle, "w")
    assert "out of memory: the limit of 32 MiB was reached" in done.stderr, done
    calls.until(lambda: systemd.scopes() == before, "the scope is forgotten")


def test_a_world_of_one_process_has_room_for_it(runtime: Runtime) -> None:
    bundle = runtime.bundle("cat", "/proc/self/cgroup", linux={"resources": {"pids": {"limit": 1}}})
    done = by_systemd(runtime, "run", "--bundle", bundle, "w").ok()
    assert done.stdout == "0::/\n"


def test_a_paused_world_is_removed_with_its_scope(runtime: Runtime) -> None:
    cgroup, unit = run_detached(runtime, "w")
    runtime("pause", "w").ok()
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()
    systemd.until_forgotten(unit)


def test_worlds_in_parallel_leave_no_scope(runtime: Runtime) -> None:
    before = systemd.scopes()
    bundle = runtime.bundle("true", linux={"resources": _LIMITS})
    with ThreadPoolExecutor(4) as threads:
        done = list(
            threads.map(
                lambda number: by_systemd(runtime, "run", "--bundle", bundle, f"w{number}"),
                range(8),
            )
        )
    assert [result.status for result in done] == [0] * 8, done
    calls.until(lambda: systemd.scopes() == before, "every scope is forgotten")


def test_a_killed_creation_is_removed_by_delete(runtime: Runtime) -> None:
    bundle = runtime.bundle("sleep", "600", hooks={
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]}],
    })  # fmt: skip
    before = systemd.scopes()
    assert by_systemd(runtime, "create", "--bundle", bundle, "w").status == -signal.SIGKILL
    assert runtime.worlds() == ["w"]
    runtime("delete", "--force", "w").ok()
    calls.until(lambda: systemd.scopes() == before, "the scope is forgotten")


def test_a_maker_that_is_killed_at_any_call_leaves_what_can_be_removed() -> None:
    for count in range(0, 200, 5):
        pid = os.fork()
        if pid == 0:
            _die_at(count)
        status = ended(pid)
        assert scope.remove_scope(_UNIT.reference, place().directory, _OWNER) == ""
        assert remove_world(place().directory, _OWNER)
        assert_nothing_is_left()
        if status == 0:
            break
    else:
        pytest.fail("the maker never finished")
    assert count > 20


def _die_at(count: int) -> None:
    """Make a scope, but be killed at a message or a change; even: before it, odd: after it."""
    left = count

    def deadly(act: Any) -> Any:
        def acting(*words: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = act(*words, **named)
            if left == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 2
            return result

        return acting

    try:
        bus.Bus._send = deadly(bus.Bus._send)  # type: ignore[method-assign]
        bus.Bus.wait_for_job = deadly(bus.Bus.wait_for_job)  # type: ignore[method-assign]
        cgroup2.write = deadly(cgroup2.write)
        os.mkdir = deadly(os.mkdir)
        os.setxattr = deadly(os.setxattr)
        files = cgroup_files({"pids": {"limit": 9}})
        world, parked = scope.make_scope(place(), _UNIT, files, _OWNER)
        sleeper(world)
        parked.end()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("call", [b"StartTransientUnit", b"GetUnit", b"ControlGroup"])
def test_a_connection_that_breaks_is_an_error_and_leaves_nothing(
    call: bytes, answered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with systemd.CutWire(tmp_path, call, answered=answered) as wire:
        monkeypatch.setattr(
            doors, "doors", lambda _manager: (doors.Door(wire.address, is_bus=False),)
        )
        with pytest.raises(SubstrateError, match="the connection to systemd broke at"):
            scope.make_scope(place(), _UNIT, cgroup_files({}), _OWNER)
        # Nobody could be asked, neither then nor now.
        assert remove_world(place().directory, _OWNER)
    monkeypatch.undo()
    assert_nothing_is_left()


@pytest.mark.parametrize("is_bus", [False, True])
def test_both_doors_lead_to_the_manager(is_bus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    address = systemd.BUS if is_bus else systemd.PRIVATE
    monkeypatch.setattr(doors, "doors", lambda _manager: (doors.Door(address, is_bus=is_bus),))
    files = cgroup_files({"pids": {"limit": 9}})
    world, parked = scope.make_scope(place(), _UNIT, files, _OWNER)
    with world, parked:
        assert systemd.show(_UNIT.name, "TasksMax") == {"TasksMax": "10"}
        assert world.processes() == []
        assert str(parked.pid) in Path(f"{place().base}/held/cgroup.procs").read_text("ascii")
    assert scope.remove_scope(_UNIT.reference, place().directory, _OWNER) == ""
    assert_nothing_is_left()


def test_without_systemd_a_world_can_still_be_deleted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup, unit = run_detached(runtime, "w")
    state = calls.state(runtime, "w")["substrate"]
    owner = str(runtime.home / "state" / "w")
    monkeypatch.setattr(doors, "doors", lambda _manager: (doors.Door("/nowhere", is_bus=False),))
    problem = scope.remove_scope(state["unit"], state["cgroup"], owner)
    assert "cannot be reached" in problem
    assert remove_world(str(cgroup), owner)
    monkeypatch.undo()
    systemd.until_forgotten(unit)


@pytest.fixture(scope="module")
def manager() -> Iterator[Path]:
    """The XDG_RUNTIME_DIR of an ordinary user with a service manager of its own."""
    for directory in systemd.user_manager():
        # The slice stays as long as its manager, so it is there before any test.
        systemd.make_user_slice(directory)
        yield directory


@requires("rootless_user", "userns.unprivileged")
@pytest.mark.parametrize("inside", [True, False])
def test_an_ordinary_users_world_is_a_scope_of_its_own_manager(
    manager: Path, rootless_runtime: Runtime, inside: bool
) -> None:
    """Inside the manager's subtree, as in a desktop session; outside, as after ssh."""
    runtime = rootless_runtime
    runtime.start_with("env", f"XDG_RUNTIME_DIR={manager}")
    if inside:
        runtime.start_with("systemd-run", "--user", "--scope", "--quiet")
    resources = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}
    bundle = runtime.bundle("sleep", "600", linux={"resources": resources})
    words = ("run", "--detach", "--bundle", bundle, "w")
    by_systemd(runtime, *words).ok()
    own = calls.state(runtime, "w")["substrate"]
    cgroup = Path(own["cgroup"])
    assert own["unit"].startswith("user/substrate-w")
    assert "/substrate-test-manager.service/user.slice/" in own["cgroup"]
    assert (cgroup / "memory.max").read_text("utf-8") == f"{64 * MIB}\n"
    assert (cgroup / "pids.max").read_text("utf-8") == "50\n"
    pid = calls.state(runtime, "w")["pid"]
    assert (cgroup / "cgroup.procs").read_text("utf-8").split() == [str(pid)]
    runtime("exec", "--detach", "w", "sleep", "600").ok()
    assert len((cgroup / "cgroup.procs").read_text("utf-8").split()) == 2
    runtime("update", "--pids-limit", "40", "w").ok()
    assert (cgroup / "pids.max").read_text("utf-8") == "40\n"
    runtime("delete", "--force", "w").ok()
    assert not cgroup.exists()


@requires("rootless_user", "userns.unprivileged")
def test_an_ordinary_user_without_a_manager_is_told(rootless_runtime: Runtime) -> None:
    bundle = rootless_runtime.bundle("true")
    environment = {"XDG_RUNTIME_DIR": "/nowhere"}
    refused = by_systemd(rootless_runtime, "run", "--bundle", bundle, "w", env=environment)
    assert refused.status == 4
    assert "the service manager of uid" in refused.stderr
    assert "--cgroup-manager cgroupfs" in refused.stderr
