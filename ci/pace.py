"""Print how much slower than its reference this machine is now, at least 1: for limits on time.

Measured by the processor time of the interpreter's start, which is much like that of tests.
"""

from __future__ import annotations

import resource
import subprocess
import sys

REFERENCE_S = 0.0075
STARTS = 25


def main() -> None:
    """Start the interpreter some times and print the factor."""
    before = _spent()
    for _ in range(STARTS):
        subprocess.run([sys.executable, "-ISE", "-c", "pass"], check=True)
    print(f"{max(1.0, (_spent() - before) / STARTS / REFERENCE_S):.2f}")


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
