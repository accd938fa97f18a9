"""Faults on purpose: a runtime killed at its n-th system call, a plan with one call broken."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from substrate.kernel.plan import packed
from substrate.record import replace
from tests.support import calls

if TYPE_CHECKING:
    from pathlib import Path

    from substrate.kernel.plan import Plan
    from tests.support.runtime import Runtime

# Calls that leave a trace in the world around, or tell somebody something.
LASTING = (
    "mkdir", "mkdirat", "openat", "rename", "renameat", "renameat2", "write", "writev", "sendmsg",
    "sendto", "recvmsg", "recvfrom", "open_tree", "fsopen", "fsconfig", "fsmount", "mount_setattr",
    "move_mount", "fork", "vfork", "clone", "clone3", "bind", "listen", "connect", "flock",
    "unlink", "unlinkat", "rmdir", "wait4", "waitid", "pidfd_open", "pidfd_send_signal",
    "memfd_create", "socketpair", "poll", "exit_group",
)  # fmt: skip
NO_SUCH_CALL = 9999


def traced(runtime: Runtime, trace: Path, when: int, *words: str | Path) -> int:
    """Call the runtime, killing it (not its children) at its `when`-th lasting call; 0 never.

    Return the exit status; the calls are listed in `trace`.
    """
    names = ",".join(LASTING)
    argv, environment = calls.bare(runtime)
    inject = ["-e", f"inject={names}:signal=SIGKILL:when={when}"] if when else []
    done = subprocess.run(
        ["strace", "-o", str(trace), "-e", f"trace={names}", *inject, *argv, *map(str, words)],
        env=environment,
        cwd=runtime.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    return done.returncode


def steps_of(runtime: Runtime, trace: Path, *words: str | Path) -> range:
    """Call the runtime to the end and return the numbers of its lasting calls.

    Without those of Python's start, which touch nothing of ours.
    """
    traced(runtime, trace, 0, *words)
    lines = [line for line in trace.read_text("utf-8", "replace").splitlines() if "(" in line]
    first = next(number for number, line in enumerate(lines) if f"{runtime.home}/state" in line)
    return range(first + 1, len(lines) + 1)


def with_broken_call(plan: Plan, index: int) -> Plan:
    """Return the plan with one call replaced by one no kernel has, which fails with ENOSYS."""
    ops = list(plan.ops)
    ops[index] = replace(ops[index], number=NO_SUCH_CALL)
    return replace(plan, code=b"".join(map(packed, ops)))
