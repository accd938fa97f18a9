"""How a command or a world ended, and what it used until then."""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage
    from typing import Any

    from substrate.cgroups.group import Cgroup
    from substrate.cgroups.report import LimitHit
    from substrate.cgroups.spans import SpanCgroup
    from substrate.cgroups.statistics import Statistics

# Who counted: the kernel in a cgroup, for all processes; or wait4(2), for the process awaited and
# those it has awaited itself, and of memory for the largest single one of them.
CGROUP, PROCESS = "cgroup", "process"


@record
class Resources:
    """What was used. None is not known: nothing counts it here.

    `cpu_ms` milliseconds of processor time and `memory_peak` bytes, each with who counted it;
    `oom_killed`: a process was killed for memory; `throttled_ms`: how long threads waited for
    processor time; `survivors`: processes that the command has left behind.
    """

    cpu_ms: int | None = None
    cpu_source: str = ""
    memory_peak: int | None = None
    memory_source: str = ""
    oom_killed: bool | None = None
    throttled: bool | None = None
    throttled_ms: int | None = None
    pids_peak: int | None = None
    survivors: int | None = None
    limits_hit: tuple[LimitHit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they stand in results and traces; what is unknown is left out."""
        found: dict[str, Any] = {
            "cpu_ms": self.cpu_ms,
            "memory_peak": self.memory_peak,
            "oom_killed": self.oom_killed,
            "throttled": self.throttled,
            "throttled_ms": self.throttled_ms,
            "pids_peak": self.pids_peak,
            "survivors": self.survivors,
            "limits_hit": [hit.to_json() for hit in self.limits_hit] or None,
            "source": {"cpu_ms": self.cpu_source, "memory_peak": self.memory_source},
        }
        return {key: value for key, value in found.items() if value is not None}


@record
class Outcome:
    """The end of a command: its exit status, 128 + n for a signal, and what it used."""

    status: int
    resources: Resources = Resources()


def of_process(usage: struct_rusage | None, hits: tuple[LimitHit, ...] = ()) -> Resources:
    """Return what wait4(2) has told of a process, where there is no cgroup."""
    if usage is None:
        return Resources(limits_hit=hits)
    return Resources(
        cpu_ms=round((usage.ru_utime + usage.ru_stime) * 1000),
        cpu_source=PROCESS,
        memory_peak=usage.ru_maxrss * 1024,
        memory_source=PROCESS,
        limits_hit=hits,
    )


def of_span(span: SpanCgroup, usage: struct_rusage | None, hits: tuple[LimitHit, ...]) -> Resources:
    """Return what a command has used that had a cgroup of its own.

    Its memory is counted apart only in a world made for commands. Limits are the world's: what of
    the others was met while the command ran may have been another one's doing.
    """
    from substrate.cgroups.statistics import read_statistics
    from substrate.record import replace

    own = read_statistics(span.own.fd)
    used = replace(_counted(own, of_process(usage)), survivors=len(span.survivors()))
    world = _since(read_statistics(span.world.fd), span.before)
    if own.memory_events:
        # Of its own processes, whoever else had filled the memory.
        peak = own.memory_peak_bytes
        world = replace(world, memory_events=own.memory_events, memory_peak_bytes=peak)
    return _with_limits(used, world, hits)


def of_world(cgroup: Cgroup, usage: struct_rusage | None, hits: tuple[LimitHit, ...]) -> Resources:
    """Return what a whole world has used, by its cgroup, which is still there."""
    from substrate.cgroups.statistics import read_statistics

    world = read_statistics(cgroup.fd)
    return _with_limits(_counted(world, of_process(usage)), world, hits)


def _counted(by: Statistics, plain: Resources) -> Resources:
    """Return what a cgroup has counted, and what wait4(2) told where it counts nothing."""
    from substrate.record import replace

    used = replace(plain, pids_peak=by.pids_peak)
    if by.cpu:
        used = replace(used, cpu_ms=round(by.cpu_time_s * 1000), cpu_source=CGROUP)
    if by.memory_peak_bytes is not None:
        used = replace(used, memory_peak=by.memory_peak_bytes, memory_source=CGROUP)
    return used


def _with_limits(used: Resources, world: Statistics, hits: tuple[LimitHit, ...]) -> Resources:
    from substrate.cgroups.report import limits_hit
    from substrate.record import replace

    return replace(
        used,
        oom_killed=bool(world.memory_events.get("oom_kill")) if world.memory_events else None,
        throttled=bool(world.cpu.get("nr_throttled")) if "nr_throttled" in world.cpu else None,
        throttled_ms=round(world.throttled_s * 1000) if "nr_throttled" in world.cpu else None,
        limits_hit=hits + limits_hit(world),
    )


def _since(world: Statistics, before: tuple[str | None, ...]) -> Statistics:
    """Return the figures of a world without what was counted before."""
    from substrate.kernel.cgroup2 import pairs
    from substrate.record import replace

    memory, pids, cpu = map(pairs, before)
    return replace(
        world,
        memory_events=_less(world.memory_events, memory),
        pids_refused=world.pids_refused - pids.get("max", 0),
        cpu=_less(world.cpu, cpu),
    )


def _less(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {key: value - before.get(key, 0) for key, value in now.items()}
