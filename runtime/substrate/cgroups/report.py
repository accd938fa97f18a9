"""Which limits a world ran into, in a sentence for people and in fields for programs."""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from substrate.cgroups.statistics import Statistics

MEMORY, PIDS, CPU = "memory", "pids", "cpu"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
# A world that waits less than that of its periods is not held up by its limit.
_NOTEWORTHY_SHARE = 0.05
_MEMORY_HINT = "raise it with substrate.limits.memory or linux.resources.memory.limit"
_PIDS_HINT = "raise it with substrate.limits.pids or linux.resources.pids.limit"
_CPU_HINT = "raise it with substrate.limits.cpus or linux.resources.cpu.quota"


@record
class LimitHit:
    """One limit that was reached. `limit` and `peak` are bytes, processes or CPUs; None: unknown.

    `killed` counts the processes the kernel has killed for it. `is_fatal`: it was not only slower.
    """

    name: str
    limit: float | None
    peak: float | None
    killed: int
    is_fatal: bool
    sentence: str
    hint: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they stand in results and traces."""
        found = {
            "name": self.name,
            "limit": self.limit,
            "peak": self.peak,
            "killed": self.killed,
            "fatal": self.is_fatal,
            "message": self.sentence,
            "hint": self.hint,
        }
        return {key: value for key, value in found.items() if value is not None}


def limits_hit(statistics: Statistics) -> tuple[LimitHit, ...]:
    """Return the limits that a world ran into, the fatal ones first."""
    found = (oom_report(statistics), _pids(statistics), _cpu(statistics))
    return tuple(hit for hit in found if hit is not None)


def oom_report(statistics: Statistics) -> LimitHit | None:
    """Return what ran out of memory, None when nothing was killed for it.

    Reaching the limit alone is no fault: a cache fills whatever memory there is.
    """
    killed = statistics.memory_events.get("oom_kill", 0)
    if not killed:
        return None
    limit, peak = statistics.memory_limit_bytes, statistics.memory_peak_bytes
    processes = "1 process" if killed == 1 else f"{killed} processes"
    if limit is None:
        # Not ours: that of a cgroup above, or the machine's own end.
        sentence = f"out of memory: the host had none left and the kernel killed {processes}"
        hint = "free memory on the host, or give the world a limit of its own"
        return LimitHit(MEMORY, limit, peak, killed, True, sentence, hint)
    used = f" (peak {readable_bytes(peak)})" if peak is not None else ""
    sentence = (
        f"out of memory: the limit of {readable_bytes(limit)} was reached{used}"
        f" and the kernel killed {processes}"
    )
    return LimitHit(MEMORY, limit, peak, killed, True, sentence, _MEMORY_HINT)


def readable_bytes(count: int) -> str:
    """Return a number of bytes as people write it: `32 MiB`, `1.5 GiB`, `1 byte`."""
    if count == 1:
        return "1 byte"
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    # Rounding may reach the next unit's first number, as 1023.97 KiB does.
    if unit and unit < len(_UNITS) - 1 and round(value, 1) >= 1024:
        value, unit = value / 1024, unit + 1
    return f"{round(value, 1):g} {_UNITS[unit]}"


def _pids(statistics: Statistics) -> LimitHit | None:
    refused, limit = statistics.pids_refused, statistics.pids_limit
    if not refused or limit is None:
        return None
    times = "once" if refused == 1 else f"{refused} times"
    sentence = f"too many processes: the limit of {limit} was reached and a fork refused {times}"
    return LimitHit(PIDS, limit, statistics.pids_peak, 0, True, sentence, _PIDS_HINT)


def _cpu(statistics: Statistics) -> LimitHit | None:
    periods = statistics.cpu.get("nr_periods", 0)
    throttled = statistics.cpu.get("nr_throttled", 0)
    if not periods or throttled < _NOTEWORTHY_SHARE * periods:
        return None
    words = (statistics.cpu_max or "").split()
    limit = None
    if len(words) == 2 and words[0].isdigit():
        limit = int(words[0]) / int(words[1])
    amount = f"the limit of {limit:g} CPUs" if limit is not None else "a limit of processor time"
    sentence = (
        f"slowed down: {amount} was reached in {throttled} of {periods} periods,"
        f" {statistics.throttled_s:.1f} s of waiting in all"
    )
    return LimitHit(CPU, limit, None, 0, False, sentence, _CPU_HINT)
