"""OCI resources with the files they mean; also written to a real cgroup by the privileged tests."""

from __future__ import annotations

from typing import Any

# linux.resources, and the files they mean.
TABLE: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {}),
    ({"memory": {}}, {}),
    ({"memory": {"limit": 33554432}}, {"memory.max": "33554432"}),
    ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
    ({"memory": {"limit": 0, "reservation": 0, "swap": 0}}, {}),
    ({"memory": {"reservation": 1048576}}, {"memory.low": "1048576"}),
    ({"memory": {"reservation": -1}}, {"memory.low": "max"}),
    (
        {"memory": {"limit": 1000, "swap": 3000}},
        {"memory.max": "1000", "memory.swap.max": "2000"},
    ),
    (
        {"memory": {"limit": 1000, "swap": 1000}},
        {"memory.max": "1000", "memory.swap.max": "0"},
    ),
    (
        {"memory": {"limit": 1000, "swap": -1}},
        {"memory.max": "1000", "memory.swap.max": "max"},
    ),
    ({"memory": {"swap": -1}}, {"memory.swap.max": "max"}),
    (
        {"memory": {"limit": -1, "swap": 5000}},
        {"memory.max": "max", "memory.swap.max": "5000"},
    ),
    (
        {"memory": {"kernel": 0, "kernelTCP": -1, "useHierarchy": True, "disableOOMKiller": False}},
        {},
    ),
    ({"cpu": {}}, {}),
    ({"cpu": {"shares": 0}}, {}),
    ({"cpu": {"shares": 1}}, {"cpu.weight": "1"}),
    ({"cpu": {"shares": 2}}, {"cpu.weight": "1"}),
    ({"cpu": {"shares": 10}}, {"cpu.weight": "4"}),
    ({"cpu": {"shares": 100}}, {"cpu.weight": "17"}),
    ({"cpu": {"shares": 512}}, {"cpu.weight": "59"}),
    ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}),
    ({"cpu": {"shares": 262144}}, {"cpu.weight": "10000"}),
    ({"cpu": {"shares": 1 << 40}}, {"cpu.weight": "10000"}),
    ({"cpu": {"quota": 20000}}, {"cpu.max": "20000 100000"}),
    ({"cpu": {"quota": 20000, "period": 50000}}, {"cpu.max": "20000 50000"}),
    ({"cpu": {"quota": -1}}, {"cpu.max": "max 100000"}),
    ({"cpu": {"period": 50000}}, {"cpu.max": "max 50000"}),
    ({"cpu": {"quota": 0, "period": 0}}, {}),
    (
        {"cpu": {"quota": 20000, "burst": 10000}},
        {"cpu.max": "20000 100000", "cpu.max.burst": "10000"},
    ),
    ({"cpu": {"burst": 0}}, {"cpu.max.burst": "0"}),
    ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
    ({"cpu": {"idle": 1, "shares": 1024}}, {"cpu.idle": "1"}),
    ({"cpu": {"idle": 0, "shares": 1024}}, {"cpu.idle": "0", "cpu.weight": "100"}),
    ({"cpu": {"cpus": "0-1,3", "mems": "0"}}, {"cpuset.cpus": "0-1,3", "cpuset.mems": "0"}),
    ({"cpu": {"cpus": "", "mems": ""}}, {}),
    ({"cpu": {"realtimeRuntime": 0, "realtimePeriod": 0}}, {}),
    ({"pids": {"limit": 100}}, {"pids.max": "100"}),
    ({"pids": {"limit": -1}}, {"pids.max": "max"}),
    ({"pids": {"limit": 0}}, {"pids.max": "max"}),
    ({"blockIO": {"weight": 10}}, {"io.bfq.weight": "10"}),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}},
        {"io.bfq.weight": "8:0 500"},
    ),
    (
        {
            "blockIO": {
                "throttleReadBpsDevice": [
                    {"major": 8, "minor": 0, "rate": 1048576},
                    {"major": 8, "minor": 16, "rate": 0},
                ],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 6}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}],
            }
        },
        {"io.max": "8:0 rbps=1048576\n8:16 rbps=max\n8:0 wbps=5\n8:0 riops=6\n8:0 wiops=7"},
    ),
    (
        {
            "hugepageLimits": [
                {"pageSize": "2MB", "limit": 4194304},
                {"pageSize": "1GB", "limit": 0},
            ]
        },
        {
            "hugetlb.2MB.max": "4194304",
            "hugetlb.2MB.rsvd.max": "4194304",
            "hugetlb.1GB.max": "0",
            "hugetlb.1GB.rsvd.max": "0",
        },
    ),
    (
        {"rdma": {"mlx4_0": {"hcaHandles": 2, "hcaObjects": 2000}, "ocrdma1": {"hcaObjects": 3}}},
        {"rdma.max": "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_object=3"},
    ),
    ({"rdma": {"mlx4_0": {}}}, {}),
    ({"network": {"classID": 0, "priorities": []}}, {}),
    (
        {"unified": {"memory.high": "1G", "memory.oom.group": "1"}},
        {"memory.high": "1G", "memory.oom.group": "1"},
    ),
    (
        {"memory": {"limit": 1000}, "unified": {"memory.max": "2000"}},
        {"memory.max": "2000"},
    ),
    (
        {"unified": {"io.max": "8:0 rbps=1\n8:16 wbps=2\n"}},
        {"io.max": "8:0 rbps=1\n8:16 wbps=2"},
    ),
    ({"unified": {"cpuset.cpus.partition": "root"}}, {"cpuset.cpus.partition": "root"}),
    ({"a key of tomorrow": {"limit": 1}}, {}),
]  # fmt: skip
