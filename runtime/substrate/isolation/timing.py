"""How long each step of a plan takes, measured by the process that takes them (`--debug`).

A timed plan has two more calls before each step: the time into a record, the record into a file
of anonymous memory. Nothing of it is there in a plan that is not timed.
"""

from __future__ import annotations

import os
import struct

from substrate.kernel.plan import Pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.isolation.lowering import Lowering, Step

    # What each step is, and its duration in milliseconds.
    Durations = list[tuple[str, float]]

_RECORD = struct.Struct("=QQQ")  # the step's number, seconds, nanoseconds
_CLOCK_MONOTONIC = 1
INPUT = "timings"


def lower_timed(steps: Iterable[Step], out: Lowering) -> None:
    """Write every step into the plan, each with the record of when it began."""
    for number, step in enumerate(steps):
        out.plan.begin_step(step.describe())
        record = out.plan.data(_RECORD.pack(number, 0, 0))
        out.plan.call("clock_gettime", _CLOCK_MONOTONIC, Pointer(record.offset + 8))
        file = out.plan.input(INPUT)
        out.plan.call("write", file, record, _RECORD.size, expect=_RECORD.size)
        step.lower(out)


class Timings:
    """The file a timed plan writes to. Use as a context manager."""

    def __init__(self) -> None:
        self.fd = os.memfd_create(INPUT, os.MFD_CLOEXEC)

    def __enter__(self) -> Timings:
        return self

    def __exit__(self, *_details: object) -> None:
        os.close(self.fd)

    def read(self, descriptions: tuple[str, ...]) -> Durations:
        """Return the steps begun so far, in order; the last one has no end yet and is left out."""
        raw = os.pread(self.fd, _RECORD.size * len(descriptions), 0)
        records: Iterable[tuple[int, int, int]] = _RECORD.iter_unpack(raw)
        begun: list[tuple[str, float]] = [
            (descriptions[number], seconds * 1e3 + nanoseconds / 1e6)
            for number, seconds, nanoseconds in records
        ]
        ends = [moment for _, moment in begun[1:]]
        return [(step[0], ending - step[1]) for step, ending in zip(begun, ends, strict=False)]
