"""A world as a unit of systemd: names, slices and properties."""

from __future__ import annotations

from typing import Any

import pytest

from substrate.cgroups.limits import cgroup_files
from substrate.cgroups.units import escape, limit_properties, slice_parts, unit_of_path
from substrate.errors import UsageError

_MIB = 1 << 20
_INFINITY = (1 << 64) - 1


def unit(path: str | None, name: str = "w") -> tuple[str, str]:
    found = unit_of_path(path, name, "system", "system.slice")
    return found.slice, found.name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, ("system.slice", "substrate-w.scope")),
        ("", ("system.slice", "substrate-w.scope")),
        ("machine.slice:libpod:1234", ("machine.slice", "libpod-1234.scope")),
        (":libpod:1234", ("system.slice", "libpod-1234.scope")),
        ("a-b.slice::x", ("a-b.slice", "x.scope")),
        ("-.slice:p:n", ("-.slice", "p-n.scope")),
    ],
)
def test_a_path_names_slice_and_scope(path: str | None, expected: tuple[str, str]) -> None:
    assert unit(path) == expected


@pytest.mark.parametrize(
    "path",
    ["/a/b", "a", "a:b", "a:b:c:d", "a.slice:b:", "a.slice:b:c.slice", "a:b:c", "-a.slice:b:c",
     "a--b.slice:b:c", "a-.slice:b:c", ".slice:b:c", "a.slice:b:c d", "a.slice:.b:c", "ä.slice:b:c",
     "a.slice:b:c\n", "a.slice:b:" + "c" * 255, "a" * 255 + ".slice:b:c", "../a.slice:b:c",
     "a.slice:b:@", "a/b.slice:b:c"],
)  # fmt: skip
def test_what_cannot_be_a_unit_is_refused(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        unit(path)
    assert "SLICE.slice:PREFIX:NAME" in caught.value.hint


def test_the_unit_of_a_world_has_a_valid_name_whatever_its_id() -> None:
    assert unit(None, "a+b_c.d-e") == ("system.slice", "substrate-a\\x2bb_c.d-e.scope")
    assert escape("\\ä") == "\\x5c\\xc3\\xa4"


def test_a_slice_lies_in_those_its_name_begins_with() -> None:
    assert slice_parts("a-b-c.slice") == ("a.slice", "a-b.slice", "a-b-c.slice")
    assert slice_parts("-.slice") == ()


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {}),
        ({"pids": {"limit": 5}}, {"TasksMax": 6}),
        ({"pids": {"limit": -1}}, {"TasksMax": _INFINITY}),
        ({"cpu": {"shares": 512}}, {"CPUWeight": 59}),
        ({"cpu": {"shares": 512, "idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0, "shares": 512}}, {"CPUWeight": 59}),
        (
            {"cpu": {"quota": 20000, "period": 50000}},
            {"CPUQuotaPerSecUSec": 400_000, "CPUQuotaPeriodUSec": 50000},
        ),
        # Up to the next whole percentage.
        (
            {"cpu": {"quota": 2010, "period": 100000}},
            {"CPUQuotaPerSecUSec": 30_000, "CPUQuotaPeriodUSec": 100000},
        ),
        (
            {"cpu": {"quota": -1}},
            {"CPUQuotaPerSecUSec": _INFINITY, "CPUQuotaPeriodUSec": 100000},
        ),
        ({"cpu": {"cpus": "0-1,9"}}, {"AllowedCPUs": [3, 2]}),
        ({"cpu": {"mems": "0"}}, {"AllowedMemoryNodes": [1]}),
        (
            {"memory": {"limit": 32 * _MIB, "swap": 64 * _MIB, "reservation": _MIB}},
            {"MemoryMax": 48 * _MIB, "MemorySwapMax": 32 * _MIB, "MemoryLow": _MIB},
        ),
        ({"memory": {"limit": -1}}, {"MemoryMax": _INFINITY, "MemorySwapMax": _INFINITY}),
        ({"unified": {"memory.min": "1M", "memory.high": "max"}},
         {"MemoryMin": _MIB, "MemoryHigh": _INFINITY}),
        ({"blockIO": {"weight": 500}}, {"IOWeight": 4950}),
        ({"unified": {"io.weight": "default 70"}}, {"IOWeight": 70}),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}}, {}),
        ({"unified": {"memory.oom.group": "1", "hugetlb.2MB.max": "0"}}, {}),
    ],
)  # fmt: skip
def test_limits_are_properties(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {name: value for name, (_, value) in limit_properties(cgroup_files(resources))}
    assert found == expected
