from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.cgroups.report import limits_hit, oom_report, readable_bytes
from substrate.cgroups.statistics import HugePages, Statistics, parse_io, read_statistics

if TYPE_CHECKING:
    from pathlib import Path

_FILES = {
    "memory.current": "1048576\n",
    "memory.peak": "33554432\n",
    "memory.max": "33554432\n",
    "memory.swap.current": "0\n",
    "memory.swap.max": "max\n",
    "memory.events": "low 0\nhigh 0\nmax 31\noom 1\noom_kill 2\noom_group_kill 0\n",
    "memory.stat": "anon 4096\nfile 8192\n",
    "cpu.stat": (
        "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"
        "nr_periods 50\nnr_throttled 40\nthrottled_usec 1500000\n"
    ),
    "cpu.max": "20000 100000\n",
    "pids.current": "3\n",
    "pids.peak": "10\n",
    "pids.max": "10\n",
    "pids.events": "max 5\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1\n",
    "hugetlb.2MB.current": "4194304\n",
    "hugetlb.2MB.max": "8388608\n",
    "hugetlb.2MB.events": "max 3\n",
    "hugetlb.1GB.current": "0\n",
    "hugetlb.1GB.max": "max\n",
    "hugetlb.2MB.rsvd.current": "0\n",
}


def read(folder: Path, contents: dict[str, str]) -> Statistics:
    for name, content in contents.items():
        (folder / name).write_text(content)
    fd = os.open(folder, os.O_RDONLY)
    try:
        return read_statistics(fd)
    finally:
        os.close(fd)


def test_figures_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, _FILES)
    assert found.memory_bytes == 1 << 20
    assert found.swap_limit_bytes is None
    assert found.cpu_time_s == 2.5
    assert found.throttled_s == 1.5
    assert found.pids_refused == 5
    assert sorted(found.huge_pages, key=lambda pages: pages.size) == [
        HugePages("1GB", 0, None, 0),
        HugePages("2MB", 4 << 20, 8 << 20, 3),
    ]
    assert found.memory_peak_bytes == found.memory_limit_bytes == 32 << 20
    assert (found.pids_peak, found.pids_limit) == (10, 10)
    assert found.memory_events["oom_kill"] == 2


def test_figures_have_the_form_of_runc(tmp_path: Path) -> None:
    figures = read(tmp_path, _FILES).to_oci()
    assert figures["cpu"]["usage"] == {
        "total": 2_500_000_000,
        "user": 2_000_000_000,
        "kernel": 500_000_000,
    }
    assert figures["cpu"]["throttling"]["throttledPeriods"] == 40
    assert figures["memory"]["usage"] == {
        "usage": 1 << 20,
        "max": 32 << 20,
        "limit": 32 << 20,
        "failcnt": 31,
    }
    assert figures["memory"]["cache"] == 8192
    assert figures["pids"] == {"current": 3, "limit": 10}
    assert figures["blkio"]["ioServiceBytesRecursive"][:2] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 10},
        {"major": 8, "minor": 0, "op": "Write", "value": 20},
    ]
    assert figures["hugetlb"]["2MB"] == {"usage": 4 << 20, "max": 8 << 20, "failcnt": 3}


def test_what_is_not_counted_is_left_out(tmp_path: Path) -> None:
    nothing = read(tmp_path, {})
    assert nothing == Statistics()
    assert nothing.to_oci()["pids"] == {"current": 0, "limit": 0}
    assert limits_hit(nothing) == ()


def test_limits_that_were_hit_are_told_in_sentences(tmp_path: Path) -> None:
    memory, pids, cpu = limits_hit(read(tmp_path, _FILES))
    assert memory.sentence == (
        "out of memory: the limit of 32 MiB was reached (peak 32 MiB)"
        " and the kernel killed 2 processes"
    )
    assert pids.sentence == (
        "too many processes: the limit of 10 was reached and a fork refused 5 times"
    )
    assert cpu.sentence == (
        "slowed down: the limit of 0.2 CPUs was reached in 40 of 50 periods,"
        " 1.5 s of waiting in all"
    )
    assert [hit.is_fatal for hit in (memory, pids, cpu)] == [True, True, False]
    for hit, key in ((memory, "memory"), (pids, "pids"), (cpu, "cpus")):
        assert f"substrate.limits.{key}" in hit.hint
    assert memory.to_json()["killed"] == 2
    assert "peak" not in cpu.to_json()


def test_reaching_a_limit_without_harm_is_no_report() -> None:
    full = Statistics(memory_limit_bytes=5, memory_events={"max": 1000, "oom_kill": 0})
    assert oom_report(full) is None
    now_and_then = Statistics(cpu={"nr_periods": 100, "nr_throttled": 2})
    assert limits_hit(now_and_then) == ()


def test_the_host_running_out_is_not_blamed_on_the_world() -> None:
    hit = oom_report(Statistics(memory_events={"oom_kill": 1}))
    assert hit is not None
    assert hit.sentence == "out of memory: the host had none left and the kernel killed 1 process"


def test_a_kernel_without_peaks_tells_no_peak() -> None:
    hit = oom_report(Statistics(memory_limit_bytes=1 << 30, memory_events={"oom_kill": 1}))
    assert hit is not None
    assert "the limit of 1 GiB was reached and" in hit.sentence
    (hit,) = limits_hit(Statistics(pids_limit=3, pids_refused=1))
    assert "refused once" in hit.sentence
    (hit,) = limits_hit(Statistics(cpu={"nr_periods": 10, "nr_throttled": 9}))
    assert "a limit of processor time" in hit.sentence


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (32 << 20, "32 MiB"),
        ((1 << 20) - 1, "1 MiB"),
        (5 << 40, "5 TiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_bytes_are_written_as_people_do(count: int, text: str) -> None:
    assert readable_bytes(count) == text


def test_devices_without_counters_are_left_out() -> None:
    assert parse_io("7:0\n8:0 rbytes=1 odd=x\n") == (("8:0", {"rbytes": 1}),)
