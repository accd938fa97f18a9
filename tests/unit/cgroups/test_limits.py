from __future__ import annotations

from typing import Any

import pytest

from substrate.bundle.extension import Limits
from substrate.cgroups.limits import Write, cgroup_files, merge_resources
from substrate.errors import BundleError
from tests.unit.cgroups.resource_table import TABLE

_MIB = 1 << 20


@pytest.mark.parametrize(("resources", "expected"), TABLE)
def test_resources_mean_these_files(resources: dict[str, Any], expected: dict[str, str]) -> None:
    files = cgroup_files(resources)
    assert files.values == expected
    assert files.losses == ()


def test_the_table_is_worth_its_name() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize(
    ("resources", "name", "key"),
    [
        ({"memory": {"kernel": 5}}, "cgroup.memory", "memory.kernel"),
        ({"memory": {"kernelTCP": 5}}, "cgroup.memory", "memory.kernelTCP"),
        ({"memory": {"swappiness": 0}}, "cgroup.memory", "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "cgroup.memory", "memory.disableOOMKiller"),
        ({"memory": {"useHierarchy": False}}, "cgroup.memory", "memory.useHierarchy"),
        ({"cpu": {"realtimeRuntime": 950000}}, "cgroup.cpu", "cpu.realtimeRuntime"),
        ({"cpu": {"realtimePeriod": 1000000}}, "cgroup.cpu", "cpu.realtimePeriod"),
        ({"blockIO": {"leafWeight": 100}}, "cgroup.io", "blockIO.leafWeight"),
        (
            {"blockIO": {"weightDevice": [{"major": 1, "minor": 1, "leafWeight": 10}]}},
            "cgroup.io",
            "blockIO.weightDevice.leafWeight",
        ),
        ({"network": {"classID": 1}}, "cgroup.network", "network.classID"),
        (
            {"network": {"priorities": [{"name": "eth0", "priority": 1}]}},
            "cgroup.network",
            "network.priorities",
        ),
    ],
)
def test_what_only_v1_has_is_a_loss_with_its_name(
    resources: dict[str, Any], name: str, key: str
) -> None:
    files = cgroup_files(resources)
    assert files.values == {}
    (loss,) = files.losses
    assert loss.name == name
    assert f"$.linux.resources.{key} cannot be had: " in loss.reason


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"memory": 5}, "$.linux.resources.memory: expected an object, got the number 5"),
        ({"memory": {"limit": "1g"}}, '.memory.limit: expected an integer, got the string "1g"'),
        ({"memory": {"limit": True}}, ".memory.limit: expected an integer"),
        ({"memory": {"limit": -2}}, ".memory.limit: expected an integer from -1"),
        ({"memory": {"swap": 5}}, ".memory.swap: expected a limit of memory beside it"),
        ({"memory": {"limit": 9, "swap": 5}}, ".memory.swap: expected at least the limit of"),
        ({"cpu": {"idle": 2}}, ".cpu.idle: expected an integer from 0 to 1"),
        ({"cpu": {"cpus": "0\n1"}}, ".cpu.cpus: expected a list like 0-3,7"),
        ({"blockIO": {"weight": 5}}, ".blockIO.weight: expected an integer from 10 to 1000"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "expected a page size like 2MB"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "[0]: limit is missing"),
        ({"rdma": {"a b": {}}}, "expected the name of a device"),
        ({"unified": {"../memory.max": "1"}}, "expected a file of a controller as its key"),
        ({"unified": {"..": "1"}}, "expected a file of a controller as its key"),
        ({"unified": {"tasks": "1"}}, "expected a file of a controller as its key"),
        ({"unified": {"cgroup.procs": "1"}}, "expected a controller's file"),
        ({"unified": {"memory.max": 1}}, "expected a string, got the number 1"),
        ({"pids": {"limit": 1.5}}, ".pids.limit: expected an integer"),
    ],
)
def test_what_means_nothing_is_refused_by_its_path(resources: dict[str, Any], told: str) -> None:
    with pytest.raises(BundleError) as caught:
        cgroup_files(resources)
    assert told in caught.value.message


def test_a_faulty_update_names_its_own_file() -> None:
    with pytest.raises(BundleError, match=r"update\.json: \$\.pids\.limit: expected an integer"):
        cgroup_files({"pids": {"limit": "x"}}, file="update.json", path="$")


@pytest.mark.parametrize(
    ("resources", "ours", "expected"),
    [
        ({}, Limits(), {}),
        (
            {},
            Limits(memory_bytes=_MIB),
            {"memory.max": str(_MIB), "memory.swap.max": "0"},
        ),
        (
            {"memory": {"limit": 1000, "swap": 2000}},
            Limits(memory_bytes=_MIB),
            {"memory.max": "1000", "memory.swap.max": "1000"},
        ),
        (
            {"memory": {"limit": 2 * _MIB}},
            Limits(memory_bytes=_MIB),
            {"memory.max": str(_MIB), "memory.swap.max": "0"},
        ),
        (
            {"memory": {"limit": -1}},
            Limits(memory_bytes=_MIB),
            {"memory.max": str(_MIB), "memory.swap.max": "0"},
        ),
        (
            {"memory": {"swap": 3 * _MIB}},
            Limits(memory_bytes=_MIB),
            {"memory.max": str(_MIB), "memory.swap.max": str(2 * _MIB)},
        ),
        (
            {"unified": {"memory.max": "512K"}},
            Limits(memory_bytes=_MIB),
            {"memory.max": "512K", "memory.swap.max": "0"},
        ),
        (
            {"unified": {"memory.max": "2m"}},
            Limits(memory_bytes=_MIB),
            {"memory.max": str(_MIB), "memory.swap.max": "0"},
        ),
        ({}, Limits(pids=10), {"pids.max": "10"}),
        ({"pids": {"limit": 5}}, Limits(pids=10), {"pids.max": "5"}),
        ({"pids": {"limit": 50}}, Limits(pids=10), {"pids.max": "10"}),
        ({"pids": {"limit": -1}}, Limits(pids=10), {"pids.max": "10"}),
        ({}, Limits(cpus=1.5), {"cpu.max": "150000 100000"}),
        ({}, Limits(cpus=0.005), {"cpu.max": "5000 1000000"}),
        ({}, Limits(cpus=0.00001), {"cpu.max": "1000 1000000"}),
        ({"cpu": {"quota": 20000, "period": 100000}}, Limits(cpus=1.0),
         {"cpu.max": "20000 100000"}),
        ({"cpu": {"quota": 20000, "period": 10000}}, Limits(cpus=1.0),
         {"cpu.max": "100000 100000"}),
        ({"cpu": {"period": 10000}}, Limits(cpus=1.0), {"cpu.max": "100000 100000"}),
        ({"unified": {"cpu.max": "50000"}}, Limits(cpus=1.0), {"cpu.max": "50000"}),
        ({"unified": {"cpu.max": "max"}}, Limits(cpus=1.0), {"cpu.max": "100000 100000"}),
        (
            {"cpu": {"quota": 90000, "burst": 80000}},
            Limits(cpus=0.5),
            {"cpu.max": "50000 100000", "cpu.max.burst": "50000"},
        ),
        ({}, Limits(wall_time_s=1.0, open_files=5, output_bytes=1, disk_bytes=1), {}),
    ],
)  # fmt: skip
def test_the_stricter_of_two_limits_wins(
    resources: dict[str, Any], ours: Limits, expected: dict[str, str]
) -> None:
    assert cgroup_files(resources, ours).values == expected


@pytest.mark.parametrize(
    ("file", "value"), [("memory.max", "plenty"), ("cpu.max", "1 2 3"), ("pids.max", "-5")]
)
def test_a_value_that_cannot_be_compared_with_ours_is_refused(file: str, value: str) -> None:
    ours = Limits(memory_bytes=1, cpus=1.0, pids=1)
    with pytest.raises(BundleError, match="unified"):
        cgroup_files({"unified": {file: value}}, ours)


def test_controllers_are_those_of_the_files() -> None:
    resources = {
        "memory": {"limit": 1, "swap": 1},
        "cpu": {"shares": 2, "cpus": "0"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "blockIO": {"weight": 100},
    }
    controllers = cgroup_files(resources, Limits(pids=5)).controllers
    assert controllers == ("memory", "cpu", "cpuset", "io", "hugetlb", "pids")


def test_weight_of_block_devices_falls_back_to_the_scale_of_v2() -> None:
    (write,) = cgroup_files({"blockIO": {"weight": 1000}}).writes
    assert write == Write("blockIO.weight", "io.bfq.weight", "1000", ("io.weight", "10000"))
    (write,) = cgroup_files({"blockIO": {"weight": 10}}).writes
    assert write.otherwise == ("io.weight", "1")


def test_no_swap_is_as_good_as_no_swap_file() -> None:
    (_, none) = cgroup_files({"memory": {"limit": 5, "swap": 5}}).writes
    (_, some) = cgroup_files({"memory": {"limit": 5, "swap": 6}}).writes
    assert none.absent_is_same
    assert not some.absent_is_same


def test_check_before_update_is_passed_on() -> None:
    assert cgroup_files({"memory": {"limit": 5, "checkBeforeUpdate": True}}).memory_checked
    assert not cgroup_files({"memory": {"limit": 5}}).memory_checked


def test_an_update_keeps_what_it_does_not_name() -> None:
    before = {"memory": {"limit": 1000, "swap": 3000}, "cpu": {"quota": 5, "period": 10}}
    change: dict[str, Any] = {
        "memory": {"limit": 2000, "swap": 0},
        "cpu": {"quota": 7, "period": 0, "cpus": "", "idle": 0},
        "pids": {"limit": 0},
    }
    assert merge_resources(before, change) == {
        "memory": {"limit": 2000, "swap": 3000},
        "cpu": {"quota": 7, "period": 10, "idle": 0},
        "pids": {"limit": 0},
    }
    assert merge_resources(None, {"pids": {"limit": 5}}) == {"pids": {"limit": 5}}
    assert before == {"memory": {"limit": 1000, "swap": 3000}, "cpu": {"quota": 5, "period": 10}}
