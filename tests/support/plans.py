"""Tiny plans run by either executor, with what they reported and how they ended."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from substrate.kernel import messages
from substrate.kernel.plan import PlanBuilder
from substrate.kernel.spawn import spawn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.kernel.plan import Cell, Plan, Pointer

_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """What a plan wrote to its output, the messages it reported, and its exit status."""

    output: bytes
    reported: tuple[tuple[bytes, int], ...]
    status: int

    @property
    def error(self) -> tuple[int, int]:
        """The (op index, errno) of the one failure that was reported."""
        ((tag, value),) = self.reported
        assert tag == messages.ERROR, self
        return messages.error_parts(value)


class Builder(PlanBuilder):
    """A plan that reports on "sync" and writes on "out"."""

    def __init__(self) -> None:
        super().__init__()
        self.sync = self.input("sync")
        self.out = self.input("out")
        self.report_to(self.sync)
        self.begin_step("test")

    def say(self, text: str) -> int:
        """Append a write of a word to the output, and return its index."""
        return self.call("write", self.out, self.text(text), len(text.encode()))

    def say_bytes(self, place: Pointer | Cell, size: int) -> int:
        """Append a write of a piece of the arena to the output."""
        return self.call("write", self.out, place, size)


def run(
    plan: Plan, executor: str, inputs: dict[str, int] | None = None, keep: Iterable[int] = ()
) -> Outcome:
    """Run a plan of `Builder` to its end, its forks' ends included."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_TIMEOUT_S)
    read_fd, write_fd = os.pipe()
    with ours:
        try:
            wanted = {"sync": theirs.fileno(), "out": write_fd} | (inputs or {})
            pid = spawn(plan, wanted, executor, keep)
        finally:
            theirs.close()
            os.close(write_fd)
        with open(read_fd, "rb") as pipe:
            output = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        reported: list[tuple[bytes, int]] = []
        while raw := ours.recv(messages.SIZE):
            reported.append(messages.unpack(raw))
    return Outcome(output, tuple(reported), status)
