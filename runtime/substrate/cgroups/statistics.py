"""What a cgroup has used: one record read from its files, and the forms others know it in."""

from __future__ import annotations

import os

from substrate.kernel import cgroup2
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NS_PER_US = 1000
_IO_WORDS = (
    ("ioServiceBytesRecursive", (("Read", "rbytes"), ("Write", "wbytes"), ("Discard", "dbytes"))),
    ("ioServicedRecursive", (("Read", "rios"), ("Write", "wios"), ("Discard", "dios"))),
)


@record
class HugePages:
    """Huge pages of one size: bytes in use, the limit (None: none), how often it was reached."""

    size: str
    used_bytes: int
    limit_bytes: int | None
    refused: int


@record
class Statistics:
    """A cgroup's figures. None: this kernel does not count it, or the controller is not enabled.

    A limit of None is no limit. `memory_events` counts since the cgroup was made: `max` (the limit
    was reached and memory reclaimed), `oom` (that did not help), `oom_kill` (processes killed).
    `io` are pairs of a device like 8:0 and its counters.
    """

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    swap_bytes: int | None = None
    swap_limit_bytes: int | None = None
    memory_events: dict[str, int] = {}  # noqa: RUF012 -- nobody changes it
    memory_stat: dict[str, int] = {}  # noqa: RUF012
    cpu: dict[str, int] = {}  # noqa: RUF012
    cpu_max: str | None = None
    pids: int | None = None
    pids_peak: int | None = None
    pids_limit: int | None = None
    pids_refused: int = 0
    io: tuple[tuple[str, dict[str, int]], ...] = ()
    huge_pages: tuple[HugePages, ...] = ()

    @property
    def cpu_time_s(self) -> float:
        """Processor time used, in seconds."""
        return self.cpu.get("usage_usec", 0) / 1e6

    @property
    def throttled_s(self) -> float:
        """How long threads had to wait for the next period of cpu.max, in seconds."""
        return self.cpu.get("throttled_usec", 0) / 1e6

    def to_oci(self) -> dict[str, Any]:
        """Return the figures as `events --stats` prints them under runc."""
        return {
            "cpu": self._cpu_part(),
            "memory": self._memory_part(),
            "pids": {"current": self.pids or 0, "limit": self.pids_limit or 0},
            "blkio": self._io_part(),
            "hugetlb": {
                pages.size: {
                    "usage": pages.used_bytes,
                    "max": pages.limit_bytes or 0,
                    "failcnt": pages.refused,
                }
                for pages in self.huge_pages
            },
        }

    def _cpu_part(self) -> dict[str, Any]:
        def nanoseconds(key: str) -> int:
            return self.cpu.get(key, 0) * _NS_PER_US

        return {
            "usage": {
                "total": nanoseconds("usage_usec"),
                "user": nanoseconds("user_usec"),
                "kernel": nanoseconds("system_usec"),
            },
            "throttling": {
                "periods": self.cpu.get("nr_periods", 0),
                "throttledPeriods": self.cpu.get("nr_throttled", 0),
                "throttledTime": nanoseconds("throttled_usec"),
            },
        }

    def _memory_part(self) -> dict[str, Any]:
        return {
            "cache": self.memory_stat.get("file", 0),
            "usage": {
                "usage": self.memory_bytes or 0,
                "max": self.memory_peak_bytes or 0,
                "limit": self.memory_limit_bytes or 0,
                "failcnt": self.memory_events.get("max", 0),
            },
            "swap": {"usage": self.swap_bytes or 0, "limit": self.swap_limit_bytes or 0},
            "raw": dict(self.memory_stat),
        }

    def _io_part(self) -> dict[str, Any]:
        return {
            name: [
                {
                    "major": int(device.split(":")[0]),
                    "minor": int(device.split(":")[1]),
                    "op": operation,
                    "value": counters.get(word, 0),
                }
                for device, counters in self.io
                for operation, word in words
            ]
            for name, words in _IO_WORDS
        }


def read_statistics(fd: int) -> Statistics:
    """Read the figures of the cgroup with this descriptor."""
    return Statistics(
        memory_bytes=_number(fd, "memory.current"),
        memory_peak_bytes=_number(fd, "memory.peak"),
        memory_limit_bytes=_number(fd, "memory.max"),
        swap_bytes=_number(fd, "memory.swap.current"),
        swap_limit_bytes=_number(fd, "memory.swap.max"),
        memory_events=cgroup2.pairs(cgroup2.read(fd, "memory.events")),
        memory_stat=cgroup2.pairs(cgroup2.read(fd, "memory.stat")),
        cpu=cgroup2.pairs(cgroup2.read(fd, "cpu.stat")),
        cpu_max=cgroup2.read(fd, "cpu.max"),
        pids=_number(fd, "pids.current"),
        pids_peak=_number(fd, "pids.peak"),
        pids_limit=_number(fd, "pids.max"),
        pids_refused=cgroup2.pairs(cgroup2.read(fd, "pids.events")).get("max", 0),
        io=parse_io(cgroup2.read(fd, "io.stat") or ""),
        huge_pages=_huge_pages(fd),
    )


def parse_io(text: str) -> tuple[tuple[str, dict[str, int]], ...]:
    """Return the devices of an io.stat with their counters."""
    found: list[tuple[str, dict[str, int]]] = []
    for line in text.splitlines():
        device, *words = line.split()
        # Devices with no counters stand there with their bare number.
        counters = [word.partition("=") for word in words]
        values = {key: int(value) for key, _, value in counters if value.isdigit()}
        if values:
            found.append((device, values))
    return tuple(found)


def _huge_pages(fd: int) -> tuple[HugePages, ...]:
    found: list[HugePages] = []
    for name in os.listdir(fd):
        parts = name.split(".")
        if len(parts) == 3 and parts[0] == "hugetlb" and parts[2] == "current":
            start = f"hugetlb.{parts[1]}"
            refused = cgroup2.pairs(cgroup2.read(fd, f"{start}.events")).get("max", 0)
            used, limit = _number(fd, name), _number(fd, f"{start}.max")
            found.append(HugePages(parts[1], used or 0, limit, refused))
    return tuple(found)


def _number(fd: int, name: str) -> int | None:
    text = cgroup2.read(fd, name)
    return int(text) if text is not None and text.isdigit() else None
