"""Limits that hold, on a kernel with cgroup v2 (`ci/vm` brings one where the machine has none)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from substrate.bundle.extension import Limits
from substrate.cgroups.device_program import device_program
from substrate.cgroups.devices import DENY_ALL
from substrate.cgroups.hierarchy import choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files, without
from substrate.cgroups.owned import remove_world
from substrate.cgroups.place import (
    make_world,
    missing_controllers,
    update_world,
)
from substrate.cgroups.report import limits_hit, oom_report
from substrate.cgroups.statistics import read_statistics
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import bpf
from tests.support import features
from tests.support.cgroups import (
    MIB,
    OWNER,
    ended,
    make,
    program,
    python,
    refused_file,
    sleeper,
    start,
    value,
)
from tests.support.features import requires
from tests.unit.cgroups.resource_table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from substrate.cgroups.group import Cgroup

pytestmark = [requires("root", "cgroup2", "cgroup2.memory", "cgroup2.cpu", "cgroup2.pids")]


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    """A world's cgroup without limits."""
    made = make(str(abs(hash(request.node.name))))
    with made:
        yield made
        assert remove_world(made.directory, OWNER)
    assert not os.path.exists(made.directory)


def test_memory_limit_kills_the_payload_alone_and_says_so() -> None:
    with make("memory", ours=Limits(memory_bytes=32 * MIB)) as world:
        modest = python(world, f"bytearray({8 * MIB})")
        assert ended(modest) == 0
        assert oom_report(read_statistics(world.fd)) is None
        greedy = python(world, f"bytes({64 * MIB}).replace(b'\\0', b'x')")
        assert ended(greedy) == -signal.SIGKILL
        statistics = read_statistics(world.fd)
        hit = oom_report(statistics)
        assert hit is not None
        assert hit.killed == 1
        assert hit.limit == 32 * MIB
        assert "the limit of 32 MiB was reached (peak 32 MiB)" in hit.sentence
        assert statistics.memory_events["oom_kill"] == 1
        remove_world(world.directory, OWNER)


def test_cpu_limit_holds_over_five_seconds() -> None:
    with make("cpu", ours=Limits(cpus=0.2)) as world:
        busy = python(world, "while True: pass")
        before, began = read_statistics(world.fd).cpu_time_s, time.monotonic()
        time.sleep(5)
        used = read_statistics(world.fd).cpu_time_s - before
        assert used / (time.monotonic() - began) == pytest.approx(0.2, abs=0.03)
        (hit,) = limits_hit(read_statistics(world.fd))
        assert hit.sentence.startswith("slowed down: the limit of 0.2 CPUs was reached in")
        remove_world(world.directory, OWNER)
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
        remove_world(world.directory, OWNER)
        assert ended(first) == -signal.SIGKILL


@pytest.mark.parametrize(("resources", "expected"), TABLE)
def test_files_hold_what_the_table_says(
    resources: dict[str, Any], expected: dict[str, str]
) -> None:
    files = cgroup_files(resources)
    features.check(f"cgroup2.{name}" for name in files.controllers)
    place = choose_place(find_hierarchy(), None, "table", privileged=True)
    refused = refused_file(expected)
    if refused:
        with pytest.raises(SubstrateError, match=refused.replace(".bfq.", r"\.(bfq\.)?")):
            make_world(place, files, OWNER)
        assert not os.path.exists(place.directory)
        return
    with make_world(place, files, OWNER) as world:
        for name, wanted in expected.items():
            if value(world, name) is None:
                assert name in _ABSENT_IS_SAME
                continue
            assert value(world, name) == _as_the_kernel_shows(name, wanted)
        remove_world(world.directory, OWNER)


# A kernel without swap has no limit of it; io.weight stands in for that of BFQ.
_ABSENT_IS_SAME = ("memory.swap.max", "hugetlb.2MB.rsvd.max", "io.bfq.weight")


def _as_the_kernel_shows(name: str, wanted: str) -> str:
    size = os.sysconf("SC_PAGE_SIZE")
    if name.startswith("memory.") and name != "memory.oom.group" and wanted != "max":
        count = int(wanted.replace("1G", str(1 << 30)))
        return str(count // size * size)
    return wanted


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A block device of 16 MiB."""
    (tmp_path / "image").write_bytes(bytes(16 * MIB))
    subprocess.run(["modprobe", "loop"], check=False)
    found = subprocess.run(
        ["losetup", "--find", "--show", tmp_path / "image"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    yield found.stdout.strip()
    subprocess.run(["losetup", "--detach", found.stdout.strip()], check=True)


_READ = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
for at in range(0, 4 << 20, 1 << 18):
    assert os.preadv(fd, [mmap.mmap(-1, 1 << 18)], at) == 1 << 18
"""


@requires("cgroup2.io")
def test_reading_is_slowed_down_to_the_limit(world: Cgroup, disk: str) -> None:
    number = os.stat(disk).st_rdev
    device = {"major": os.major(number), "minor": os.minor(number)}
    needed_s: list[float] = []
    for rate in (0, MIB):
        limit = {"throttleReadBpsDevice": [device | {"rate": rate}]}
        update_world(world, cgroup_files({"blockIO": limit}))
        began = time.monotonic()
        assert ended(program(world, sys.executable, "-ISE", "-c", _READ, disk)) == 0
        needed_s.append(time.monotonic() - began)
    # 4 MiB at 1 MiB a second, of which the kernel may give the first slice at once.
    assert needed_s[1] > 3
    assert needed_s[1] > needed_s[0] + 2
    ((name, counters),) = read_statistics(world.fd).io
    assert name == f"{device['major']}:{device['minor']}"
    assert counters["rbytes"] == 8 * MIB


@requires("cgroup2.io")
def test_limits_of_a_device_are_merged(world: Cgroup, disk: str) -> None:
    number = os.stat(disk).st_rdev
    device = {"major": os.major(number), "minor": os.minor(number)}
    block = {
        "throttleReadBpsDevice": [device | {"rate": MIB}],
        "throttleWriteIOPSDevice": [device | {"rate": 7}],
    }
    update_world(world, cgroup_files({"blockIO": block}))
    name = f"{device['major']}:{device['minor']}"
    assert value(world, "io.max") == f"{name} rbps=1048576 wbps=max riops=max wiops=7"


@requires("cgroup2.io")
def test_a_device_that_is_not_there_is_named(world: Cgroup) -> None:
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
        remove_world(world.directory, OWNER)
        ended(pid)


def test_values_survive_an_update_of_others(world: Cgroup) -> None:
    update_world(world, cgroup_files({"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}))
    update_world(world, cgroup_files({"cpu": {"shares": 512}}))
    assert value(world, "memory.max") == str(64 * MIB)
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
    pid = python(world, f"x = b'x' * {20 * MIB}; import time; time.sleep(600)")
    deadline = time.monotonic() + 20
    while (read_statistics(world.fd).memory_bytes or 0) < 20 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    limit = {"limit": 4 * MIB, "checkBeforeUpdate": True}
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
    assert ended(python(world, f"bytearray({8 * MIB})")) == 0
    figures = read_statistics(world.fd).to_oci()
    assert figures["cpu"]["usage"]["total"] > 0
    assert figures["memory"]["raw"]
    assert figures["pids"] == {"current": 0, "limit": 0}
