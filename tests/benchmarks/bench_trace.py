"""What a record of the trace costs, beside the floor: the bare write of the same line.

Usage: python tests/benchmarks/bench_trace.py [--rounds N] [--directory D] [--json FILE]

The subjects take turns in one run, so that whatever else the machine does meets all of them. Not
a test: it passes no judgement. The goal is 20 µs for a record, all in.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "runtime"), str(ROOT)]

from substrate.jsontext import dumps_line  # noqa: E402 -- found by the line above
from substrate.record import replace  # noqa: E402
from substrate.trace.events import timestamp, to_json  # noqa: E402
from substrate.trace.ids import new_session_id, new_span_id  # noqa: E402
from substrate.trace.index import Index  # noqa: E402
from substrate.trace.reader import Reader  # noqa: E402
from substrate.trace.redact import redact_argv  # noqa: E402
from substrate.trace.spans import Request, command_start, write_request  # noqa: E402
from substrate.trace.verify import verify  # noqa: E402
from substrate.trace.writer import TraceWriter  # noqa: E402
from tests.support import records  # noqa: E402

_REALTIME_PRIORITY = 5
_ARGV = ("git", "commit", "--all", "--message", "Roman numerals are read in both cases")
_REQUEST = Request(_ARGV, "/home/user/project", {"PATH": "/usr/bin:/bin", "TERM": "xterm"})


def measure(directory: str, rounds: int) -> dict[str, list[int]]:
    """Return the times of each subject in nanoseconds, one a round."""
    writer = TraceWriter(directory)
    start = command_start(records.ORIGIN, _REQUEST)
    writer.append(start)
    line = dumps_line(to_json(start, timestamp())).encode() + b"\n"
    fd = os.open(f"{directory}/floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    subjects: dict[str, Callable[[], object]] = {
        "write(2) of the line": lambda: os.write(fd, line),
        "append_line: lock, look, write": lambda: writer.append_line(line),
        "append a command_start": lambda: writer.append(start),
        "append a command_complete (5 paths)": lambda: writer.append(records.COMPLETE),
        "request to command_start": lambda: command_start(records.ORIGIN, _REQUEST),
        "redact 5 words": lambda: redact_argv(_ARGV),
        "span record (a new file)": lambda: write_request(
            directory, replace(records.ORIGIN, span_id=new_span_id()), _REQUEST
        ),
        "new session id": new_session_id,
    }
    times: dict[str, list[int]] = {name: [] for name in subjects}
    gc.disable()
    for _ in range(rounds):
        for name, act in subjects.items():
            begun = time.perf_counter_ns()
            act()
            times[name].append(time.perf_counter_ns() - begun)
    gc.enable()
    os.close(fd)
    os.unlink(f"{directory}/floor")
    writer.close()
    return times


def reading(directory: str) -> dict[str, float]:
    """Return microseconds a record for what reads the whole trace."""
    with Reader(directory) as reader:
        total = sum(1 for _ in reader)
    subjects: dict[str, Callable[[], object]] = {
        "read": lambda: sum(1 for _ in Reader(directory)),
        "index from nothing": lambda: Index(directory).close(),
        "verify": lambda: verify(directory),
    }
    found: dict[str, float] = {}
    for name, act in subjects.items():
        begun = time.perf_counter()
        act()
        found[name] = (time.perf_counter() - begun) / total * 1e6
    begun = time.perf_counter()
    with Index(directory) as index:
        index.select(span=records.SPAN)
    found["open an index that is up to date (in all)"] = (time.perf_counter() - begun) * 1e6
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--directory", help="where the trace is made; its disk is what counts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REALTIME_PRIORITY))
    except PermissionError:
        print("without real-time priority: figures are upper bounds")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as place:
        times = measure(f"{place}/@trace", arguments.rounds)
        per_record = reading(f"{place}/@trace")
    floor = statistics.median(times["write(2) of the line"])
    print(f"{'µs':44}{'min':>8}{'median':>8}{'p99':>9}{'x floor':>9}")
    for name, values in times.items():
        ordered = sorted(values)
        middle = statistics.median(ordered)
        p99 = ordered[len(ordered) * 99 // 100]
        figures = f"{ordered[0] / 1e3:8.1f}{middle / 1e3:8.1f}{p99 / 1e3:9.1f}"
        print(f"{name:44}{figures}{middle / floor:9.1f}")
    print("\nµs a record")
    for name, value in per_record.items():
        print(f"{name:44}{value:8.1f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"ns": times, "reading_us": per_record}))


if __name__ == "__main__":
    main()
