"""Limits that hold, on a kernel with cgroup v2 (`ci/vm` brings one where the machine has none)."""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from substrate.bundle.extension import Limits
from substrate.cgroups.device_program import device_program
from substrate.cgroups.devices import DENY_ALL
from substrate.cgroups.group import Cgroup
from substrate.cgroups.hierarchy import Place, choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files, without
from substrate.cgroups.place import (
    OWNER_MARK,
    make_span,
    make_world,
    missing_controllers,
    open_world,
    remove_world,
    seat,
    update_world,
)
from substrate.cgroups.report import limits_hit, oom_report
from substrate.cgroups.statistics import read_statistics
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import bpf, cgroup2
from substrate.kernel.constants import Clone
from substrate.kernel.linux import syscall
from tests.support.features import requires
from tests.unit.cgroups.resource_table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    requires("root", "cgroup2", "cgroup2.memory", "cgroup2.cpu", "cgroup2.pids"),
]

_MIB = 1 << 20
_OWNER = "/run/substrate/the test"
_MOUNT = find_hierarchy().mount


def start(cgroup: Cgroup, child: Callable[[], object]) -> int:
    """Run a function in a new process that is born in the cgroup; return its pid."""
    arguments = struct.pack(
        "=11Q", Clone.INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup.fd
    )
    pid = syscall("clone3", arguments, 88)
    if pid:
        return pid
    try:
        child()
        os._exit(0)
    finally:
        os._exit(1)


def program(cgroup: Cgroup, *words: str) -> int:
    return start(cgroup, lambda: os.execv(words[0], words))


def python(cgroup: Cgroup, code: str) -> int:
    return program(cgroup, sys.executable, "-ISE", "-c", code)


def sleeper(cgroup: Cgroup) -> int:
    return program(cgroup, "/bin/sleep", "600")


def ended(pid: int) -> int:
    """Reap a child: its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def make(name: str, resources: dict[str, Any] | None = None, ours: Limits | None = None,
         *, accounting: bool = False) -> Cgroup:  # fmt: skip
    place = choose_place(find_hierarchy(), None, name, privileged=True)
    return make_world(place, cgroup_files(resources, ours), _OWNER, accounting=accounting)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    """A world's cgroup without limits."""
    made = make(str(abs(hash(request.node.name))))
    with made:
        yield made
        assert remove_world(made.directory, _OWNER)
    assert not os.path.exists(made.directory)


def value(cgroup: Cgroup, name: str) -> str | None:
    return cgroup2.read(cgroup.fd, name)


# --- limits hold ------------------------------------------------------------------------------


def test_memory_limit_kills_the_payload_alone_and_says_so() -> None:
    with make("memory", ours=Limits(memory_bytes=32 * _MIB)) as world:
        modest = python(world, f"bytearray({8 * _MIB})")
        assert ended(modest) == 0
        assert oom_report(read_statistics(world.fd)) is None
        greedy = python(world, f"bytes({64 * _MIB}).replace(b'\\0', b'x')")
        assert ended(greedy) == -signal.SIGKILL
        statistics = read_statistics(world.fd)
        hit = oom_report(statistics)
        assert hit is not None
        assert hit.killed == 1
        assert hit.limit == 32 * _MIB
        assert "the limit of 32 MiB was reached (peak 32 MiB)" in hit.sentence
        assert statistics.to_resources()["oomKills"] == 1
        remove_world(world.directory, _OWNER)


def test_cpu_limit_holds_over_five_seconds() -> None:
    with make("cpu", ours=Limits(cpus=0.2)) as world:
        busy = python(world, "while True: pass")
        before, began = read_statistics(world.fd).cpu_time_s, time.monotonic()
        time.sleep(5)
        used = read_statistics(world.fd).cpu_time_s - before
        assert used / (time.monotonic() - began) == pytest.approx(0.2, abs=0.03)
        (hit,) = limits_hit(read_statistics(world.fd))
        assert hit.sentence.startswith("slowed down: the limit of 0.2 CPUs was reached in")
        remove_world(world.directory, _OWNER)
        ended(busy)


def test_pids_limit_stops_a_fork_bomb() -> None:
    bomb = """
import os, time
while True:
    try:
        os.fork()
    except BlockingIOError:
        time.sleep(0.05)
"""
    with make("pids", ours=Limits(pids=20)) as world:
        first = python(world, bomb)
        deadline = time.monotonic() + 20
        while not (read_statistics(world.fd).pids_refused and len(world.processes()) == 20):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (hit,) = limits_hit(read_statistics(world.fd))
        assert hit.sentence.startswith("too many processes: the limit of 20 was reached")
        remove_world(world.directory, _OWNER)
        assert ended(first) == -signal.SIGKILL


@pytest.mark.parametrize(("resources", "expected"), TABLE)
def test_files_hold_what_the_table_says(
    resources: dict[str, Any], expected: dict[str, str]
) -> None:
    place = choose_place(find_hierarchy(), None, "table", privileged=True)
    files = cgroup_files(resources)
    missing = missing_controllers(find_hierarchy(), place, files)
    lost = tuple(loss.name.removeprefix("cgroup.") for loss in missing)
    if "blockIO" in resources or "io.max" in resources.get("unified", {}):
        lost += ("io",)
    # Devices and processors differ from machine to machine; they have tests of their own.
    lost += ("rdma", "cpuset")
    with make_world(place, without(files, lost), _OWNER) as world:
        for name, wanted in expected.items():
            if name.partition(".")[0] in lost or value(world, name) is None:
                continue
            assert value(world, name) == _as_the_kernel_shows(name, wanted)
        remove_world(world.directory, _OWNER)


def _as_the_kernel_shows(name: str, wanted: str) -> str:
    size = os.sysconf("SC_PAGE_SIZE")
    if name.startswith("memory.") and name != "memory.oom.group" and wanted != "max":
        count = int(wanted.replace("1G", str(1 << 30)))
        return str(count // size * size)
    return wanted


@requires("cgroup2.io")
def test_io_limits_take_effect(world: Cgroup) -> None:
    devices = [name for name in os.listdir("/sys/block") if not name.startswith(("loop", "zram"))]
    if not devices:
        pytest.skip("there is no block device to be limited")
    with open(f"/sys/block/{devices[0]}/dev", encoding="ascii") as file:
        major, minor = map(int, file.read().split(":"))
    device = {"major": major, "minor": minor}
    block = {
        "weight": 500,
        "throttleReadBpsDevice": [device | {"rate": 1048576}],
        "throttleWriteIOPSDevice": [device | {"rate": 7}],
    }
    weightless = value(world, "io.bfq.weight") is None and value(world, "io.weight") is None
    if weightless:
        del block["weight"]
    update_world(world, cgroup_files({"blockIO": block}))
    assert value(world, "io.max") == f"{major}:{minor} rbps=1048576 wbps=max riops=max wiops=7"


def test_a_device_that_is_not_there_is_named(world: Cgroup) -> None:
    if value(world, "io.max") is None:
        pytest.skip("no io controller")
    rate = {"throttleReadBpsDevice": [{"major": 250, "minor": 77, "rate": 5}]}
    with pytest.raises(SubstrateError, match=r'"250:77 rbps=5" to .*io\.max') as caught:
        update_world(world, cgroup_files({"blockIO": rate}))
    assert "blockIO.throttleReadBpsDevice" in caught.value.hint
    assert "lsblk" in caught.value.hint


@requires("cgroup2.cpuset")
def test_cpuset_takes_effect() -> None:
    with make("cpuset", {"cpu": {"cpus": "0", "mems": "0"}}) as world:
        pid = sleeper(world)
        assert os.sched_getaffinity(pid) == {0}
        with pytest.raises(SubstrateError, match=r"cpuset\.cpus"):
            update_world(world, cgroup_files({"cpu": {"cpus": "4000"}}))
        with pytest.raises(SubstrateError, match="invalid"):
            update_world(world, cgroup_files({"unified": {"cpuset.cpus.partition": "root"}}))
        remove_world(world.directory, _OWNER)
        ended(pid)


def test_values_survive_an_update_of_others(world: Cgroup) -> None:
    update_world(world, cgroup_files({"memory": {"limit": 64 * _MIB}, "pids": {"limit": 50}}))
    update_world(world, cgroup_files({"cpu": {"shares": 512}}))
    assert value(world, "memory.max") == str(64 * _MIB)
    assert value(world, "pids.max") == "50"
    assert value(world, "cpu.weight") == "59"


def test_quota_and_burst_may_change_in_either_direction(world: Cgroup) -> None:
    for quota, burst in ((50000, 40000), (10000, 5000), (90000, 90000), (20000, 0)):
        update_world(world, cgroup_files({"cpu": {"quota": quota, "burst": burst}}))
        assert value(world, "cpu.max") == f"{quota} 100000"
        assert value(world, "cpu.max.burst") == str(burst)


def test_idle_comes_and_goes_with_its_weight(world: Cgroup) -> None:
    update_world(world, cgroup_files({"cpu": {"idle": 1, "shares": 512}}))
    assert value(world, "cpu.idle") == "1"
    update_world(world, cgroup_files({"cpu": {"idle": 0, "shares": 512}}))
    assert value(world, "cpu.weight") == "59"


def test_memory_in_use_is_checked_when_asked(world: Cgroup) -> None:
    pid = python(world, f"x = b'x' * {20 * _MIB}; import time; time.sleep(600)")
    deadline = time.monotonic() + 20
    while (read_statistics(world.fd).memory_bytes or 0) < 20 * _MIB:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    limit = {"limit": 4 * _MIB, "checkBeforeUpdate": True}
    with pytest.raises(RefusedError, match="is below the"):
        update_world(world, cgroup_files({"memory": limit}))
    assert value(world, "memory.max") == "max"
    world.kill()
    ended(pid)


def test_a_value_the_kernel_refuses_is_named_with_its_key(world: Cgroup) -> None:
    with pytest.raises(
        SubstrateError, match=r'cannot write "7 7" to .*/cpu\.max: Invalid'
    ) as caught:
        update_world(world, cgroup_files({"unified": {"cpu.max": "7 7"}}))
    assert caught.value.hint == "it comes from unified.cpu.max"


def test_a_file_the_kernel_does_not_have_is_named(world: Cgroup) -> None:
    with pytest.raises(UnsupportedError, match=r"no memory\.of\.tomorrow"):
        update_world(world, cgroup_files({"unified": {"memory.of.tomorrow": "1"}}))


def test_a_controller_nobody_has_is_a_loss() -> None:
    place = choose_place(find_hierarchy(), None, "w", privileged=True)
    files = cgroup_files({"unified": {"tomorrow.max": "1"}})
    (loss,) = missing_controllers(find_hierarchy(), place, files)
    assert loss.name == "cgroup.tomorrow"
    assert without(files, ("tomorrow",)).writes == ()


# --- stopping and ending ----------------------------------------------------------------------


def test_freezer_stops_and_releases_everybody(world: Cgroup) -> None:
    pid = python(world, "while True: pass")
    try:
        world.freeze()
        assert world.is_frozen
        stood = read_statistics(world.fd).cpu_time_s
        time.sleep(0.2)
        assert read_statistics(world.fd).cpu_time_s == pytest.approx(stood, abs=0.02)
        world.thaw()
        assert not world.is_frozen
        time.sleep(0.3)
        assert read_statistics(world.fd).cpu_time_s > stood + 0.05
    finally:
        world.kill()
        ended(pid)


def test_a_frozen_world_can_be_removed() -> None:
    world = make("frozen")
    with world:
        pid = sleeper(world)
        world.freeze()
        assert remove_world(world.directory, _OWNER)
        assert ended(pid) == -signal.SIGKILL


_DAEMONS = """
import os, time
for _ in range(10):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.parametrize("old_kernel", [False, True])
def test_killing_reaches_daemons_within_200_ms(
    world: Cgroup, old_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_kernel:
        write = cgroup2.write

        def without_kill(fd: int, name: str, text: str) -> None:
            if name == "cgroup.kill":
                raise FileNotFoundError(errno.ENOENT, "before 5.14")
            write(fd, name, text)

        monkeypatch.setattr(cgroup2, "write", without_kill)
    pid = python(world, _DAEMONS)
    deadline = time.monotonic() + 20
    while len(world.processes()) < 11:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    began = time.monotonic()
    world.kill()
    assert world.wait_empty(5)
    assert time.monotonic() - began < 0.2
    assert ended(pid) == -signal.SIGKILL


def test_a_signal_reaches_everybody(world: Cgroup) -> None:
    pids = [sleeper(world) for _ in range(5)]
    world.signal(signal.SIGTERM)
    assert [ended(pid) for pid in pids] == [-signal.SIGTERM] * 5
    world.signal(signal.SIGTERM)  # nobody is left, and that is fine
    assert not world.is_frozen


def test_waiting_for_the_end_has_a_deadline(world: Cgroup) -> None:
    pid = sleeper(world)
    began = time.monotonic()
    assert not world.wait_empty(0.1)
    assert 0.09 < time.monotonic() - began < 2
    with pytest.raises(SubstrateError, match="cannot remove the cgroup") as caught:
        world.remove(timeout_s=0.05)
    assert str(pid) in caught.value.hint
    world.kill()
    ended(pid)


def test_a_process_can_be_moved_in(world: Cgroup) -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    world.add_process(pid)
    assert world.processes() == [pid]
    world.kill()
    assert ended(pid) == -signal.SIGKILL


# --- places, owners, remains ------------------------------------------------------------------


def test_removal_is_idempotent_and_a_removed_cgroup_stays_removed() -> None:
    world = make("gone")
    with world:
        os.mkdir(f"{world.directory}/a")
        os.mkdir(f"{world.directory}/a/b")
        pid = sleeper(world)
        assert remove_world(world.directory, _OWNER)
        ended(pid)
        assert not world.is_populated
        assert world.processes() == []
        world.kill()
        world.remove()
    assert remove_world(world.directory, _OWNER)
    assert open_world(world.directory, _OWNER) is None
    assert not os.path.exists(f"{_MOUNT}/substrate")


def test_every_interruption_of_making_can_be_cleaned_up() -> None:
    folder = f"{_MOUNT}/substrate"
    directory = f"{folder}/interrupted"
    # The path was stored and nothing made; only the folder; the world, not yet marked.
    assert remove_world(directory, _OWNER)
    os.mkdir(folder)
    assert remove_world(directory, _OWNER)
    assert not os.path.exists(folder)
    os.makedirs(directory)
    assert remove_world(directory, _OWNER)
    assert not os.path.exists(folder)


def test_somebody_elses_cgroup_is_neither_taken_nor_killed() -> None:
    directory = f"{_MOUNT}/theirs"
    os.mkdir(directory)
    theirs = Cgroup.open(directory)
    assert theirs is not None
    place = Place(_MOUNT, ("theirs",))
    with theirs:
        pid = sleeper(theirs)
        try:
            with pytest.raises(RefusedError, match="is in use already"):
                make_world(place, cgroup_files(None), _OWNER)
            assert not remove_world(directory, _OWNER)
            os.setxattr(directory, OWNER_MARK, b"another world")
            with pytest.raises(RefusedError, match="belongs to the world another world"):
                make_world(place, cgroup_files(None), _OWNER)
            assert not remove_world(directory, _OWNER)
            assert open_world(directory, _OWNER) is None
            assert theirs.processes() == [pid]
        finally:
            theirs.kill()
            ended(pid)
            theirs.remove()


def test_an_empty_cgroup_made_for_us_is_used() -> None:
    os.mkdir(f"{_MOUNT}/prepared")
    place = Place(_MOUNT, ("prepared",))
    with make_world(place, cgroup_files({"pids": {"limit": 5}}), _OWNER) as world:
        assert value(world, "pids.max") == "5"
    assert remove_world(place.directory, _OWNER)


def test_a_refused_limit_leaves_no_cgroup() -> None:
    with pytest.raises(SubstrateError, match=r"cpu\.max"):
        make("refused", {"unified": {"cpu.max": "7 7"}})
    remove_world(f"{_MOUNT}/substrate/refused", _OWNER)
    assert not os.path.exists(f"{_MOUNT}/substrate")


def test_a_cgroup_with_processes_gives_no_controllers_to_its_children() -> None:
    os.mkdir(f"{_MOUNT}/full")
    full = Cgroup.open(f"{_MOUNT}/full")
    assert full is not None
    with full:
        pid = sleeper(full)
        try:
            place = Place(full.directory, ("substrate", "w"))
            with pytest.raises(UnsupportedError, match="cannot enable the memory") as caught:
                make_world(place, cgroup_files({"memory": {"limit": _MIB}}), _OWNER)
            assert "move them into a cgroup below" in caught.value.hint
            # Without limits there is nothing to enable that must be had.
            with make_world(place, cgroup_files(None), _OWNER) as world:
                assert value(world, "memory.max") is None
            assert remove_world(place.directory, _OWNER)
        finally:
            full.kill()
            ended(pid)
            full.remove()


def test_200_worlds_in_parallel_leave_nothing() -> None:
    def live(number: int) -> bool:
        with make(f"many-{number}", ours=Limits(memory_bytes=32 * _MIB, pids=5)) as world:
            os.mkdir(f"{world.directory}/inner")
            return remove_world(world.directory, _OWNER)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(live, range(200)))
    assert not os.path.exists(f"{_MOUNT}/substrate")


def test_an_ordinary_user_needs_a_delegated_subtree() -> None:
    directory = f"{_MOUNT}/user"
    os.mkdir(directory)
    shell = Cgroup.open(directory)
    assert shell is not None
    with shell:
        for name in ("cgroup.subtree_control", "cgroup.procs", ""):
            os.chown(f"{directory}/{name}", 65534, 65534)
        inner = shell.make_child("shell")
        os.chown(f"{inner.directory}", 65534, 65534)
        for name in ("cgroup.subtree_control", "cgroup.procs"):
            os.chown(f"{inner.directory}/{name}", 65534, 65534)
        with inner:
            assert ended(start(shell, _as_user_elsewhere)) == 0
            assert ended(start(inner, lambda: _as_user(directory))) == 0
        shell.remove()


def _as_user(delegated: str) -> None:
    os.setgid(65534)
    os.setuid(65534)
    hierarchy = find_hierarchy()
    place = choose_place(hierarchy, None, "mine", privileged=False)
    assert place.directory == f"{delegated}/substrate/mine"
    offered = open(f"{delegated}/cgroup.controllers", encoding="ascii").read().split()  # noqa: SIM115
    limits = {"pids": {"limit": 5}} if "pids" in offered else {}
    with make_world(place, cgroup_files(limits), _OWNER) as world:
        pid = sleeper(world)
        assert world.processes() == [pid]
        assert remove_world(world.directory, _OWNER)
        ended(pid)


def _as_user_elsewhere() -> None:
    os.setgid(65533)
    os.setuid(65533)
    try:
        choose_place(find_hierarchy(), None, "mine", privileged=False)
    except UnsupportedError as error:
        assert "not delegated to uid 65533" in error.message  # noqa: PT017
    else:
        os._exit(3)


# --- spans ------------------------------------------------------------------------------------


def test_spans_share_the_world_and_can_be_ended_apart() -> None:
    with make("spans", ours=Limits(pids=10)) as world:
        with seat(world) as first:
            assert first.directory == world.directory
            kept = sleeper(first)
        with make_span(world, "1") as span:
            survivor = sleeper(span)
            assert sorted(world.processes()) == sorted([kept, survivor])
            assert span.processes() == [survivor]
            assert "usage_usec" in read_statistics(span.fd).cpu
            span.kill()
            ended(survivor)
            span.remove()
        assert world.processes() == [kept]
        assert remove_world(world.directory, _OWNER)
        ended(kept)


def test_spans_are_accounted_apart_where_asked() -> None:
    limits = Limits(memory_bytes=64 * _MIB, pids=10)
    with make("accounted", ours=limits, accounting=True) as world:
        with seat(world) as first:
            assert first.directory.endswith("/init")
            assert value(first, "memory.max") == str(64 * _MIB)
            kept = sleeper(first)
        with make_span(world, "1") as span:
            assert ended(python(span, f"bytearray({8 * _MIB})")) == 0
            peak = read_statistics(span.fd).memory_peak_bytes
            assert peak is None or peak > 4 * _MIB
            assert value(span, "pids.max") == "10"
            update_world(world, cgroup_files({"pids": {"limit": 7}}))
            assert value(span, "pids.max") == "7"
        assert remove_world(world.directory, _OWNER)
        ended(kept)


# --- devices ----------------------------------------------------------------------------------


def test_device_rules_hold_and_can_be_replaced(world: Cgroup) -> None:
    fuse = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    files = cgroup_files({"devices": fuse})
    assert files.devices is not None
    try:
        program_fd = bpf.load_device_program(device_program(files.devices))
        bpf.attach_device_program(world.fd, program_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            pytest.skip("this kernel has no BPF programs on cgroups")
        raise
    os.close(program_fd)
    assert ended(start(world, lambda: _try_devices(readable=True))) == 0
    program_fd = bpf.load_device_program(device_program(DENY_ALL))
    bpf.attach_device_program(world.fd, program_fd)
    os.close(program_fd)
    assert len(bpf.attached_device_programs(world.fd)) == 1
    assert ended(start(world, lambda: _try_devices(readable=False))) == 0


def _try_devices(*, readable: bool) -> None:
    os.close(os.open("/dev/null", os.O_RDWR))
    assert _may_open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK) == readable
    assert not _may_open("/dev/kmsg", os.O_RDWR)


def _may_open(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags))
    except PermissionError:
        return False
    return True


def test_figures_have_the_form_of_runc(world: Cgroup) -> None:
    assert ended(python(world, f"bytearray({8 * _MIB})")) == 0
    figures = read_statistics(world.fd).to_oci()
    assert figures["cpu"]["usage"]["total"] > 0
    assert figures["memory"]["raw"]
    assert figures["pids"] == {"current": 0, "limit": 0}
