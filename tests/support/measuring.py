"""What a call of the runtime costs: a program in front of it that writes its figures to a file.

runtime.start_with(*measuring.words(file)) … read(file)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Of one call and all processes it has waited for."""

    seconds: float
    processor_s: float
    most_memory_mib: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.processor_s:.1f} s of processor time, "
            f"{self.most_memory_mib:.0f} MiB"
        )


def words(file: Path) -> tuple[str, ...]:
    """Return the words that come before those of the call."""
    return (sys.executable, "-I", __file__, str(file))


def read(file: Path) -> Cost:
    """Return the figures of the last call."""
    return Cost(**json.loads(file.read_text("utf-8")))


def main() -> int:
    """Run the rest of the words, write what they cost, and end as they did."""
    started = time.monotonic()
    process = subprocess.Popen(sys.argv[2:])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    Path(sys.argv[1]).write_text(json.dumps(vars(cost)), "utf-8")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
