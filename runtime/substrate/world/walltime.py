"""The end of a world after its time: a watcher of a few kilobytes, and no timer of ours.

A plan of two calls waits for the world's end or the time, whichever comes first, and kills. It
outlives the runtime, so a detached world is watched too, and it ends with the world.
"""

from __future__ import annotations

import os
import struct

from substrate.isolation.lowering import Lowering
from substrate.kernel import procfs
from substrate.kernel.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cgroups.report import LimitHit
    from substrate.kernel.plan import Plan
    from substrate.world.state import State

_POLLIN = 1
_SIGKILL = 9


def watch(state: State, wall_time_s: float) -> int | None:
    """Start the watcher of a world and return its pid; it is a child of this process.

    None when the world has ended already.
    """
    pidfd = procfs.open_pidfd(state.pid, state.start_time)
    if pidfd is None:
        return None
    try:
        # Nobody listens: `sync`, where a failure would be reported, is no descriptor.
        inputs = {"sync": -1, "world": pidfd}
        if "pid" in state.namespaces or not state.cgroup:
            return spawn(_plan(wall_time_s, by_cgroup=False), inputs)
        kill_fd = os.open(f"{state.cgroup}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        try:
            return spawn(_plan(wall_time_s, by_cgroup=True), inputs | {"kill": kill_fd})
        finally:
            os.close(kill_fd)
    finally:
        os.close(pidfd)


def hit(wall_time_s: float) -> LimitHit:
    """Return what is told of a world that the watcher has ended."""
    from substrate.cgroups.report import LimitHit

    sentence = (
        f"out of time: the limit of {wall_time_s:g} s was reached and the world was ended with"
        " all its processes"
    )
    return LimitHit(
        "wallTime", wall_time_s, wall_time_s, 1, is_fatal=True, sentence=sentence,
        hint="raise it with substrate.limits.wallTime",
    )  # fmt: skip


def _plan(wall_time_s: float, *, by_cgroup: bool) -> Plan:
    out = Lowering()
    plan = out.plan
    plan.begin_step(f"wait {wall_time_s} s for the end of the world")
    # In no session of the caller's, whose end or whose Ctrl-C is not the world's.
    plan.call("setsid")
    world = plan.input("world")
    seconds, rest = divmod(wall_time_s, 1)
    time = plan.data(struct.pack("=qq", int(seconds), int(rest * 1e9)))
    polled = plan.data(struct.pack("=ihh", -1, _POLLIN, 0))
    plan.input_at("world", polled.offset)
    # 0 is the end of the time; anything else, the end of the world, ends the plan.
    plan.call("ppoll", polled, 1, time, 0, 0, expect=0)
    plan.begin_step("end the world")
    if by_cgroup:
        plan.call("write", plan.input("kill"), plan.text("1"), 1)
    else:
        # Pid 1 of its namespace: all of the world ends with it.
        plan.call("pidfd_send_signal", world, _SIGKILL, 0, 0)
    return plan.finish()
