"""Processes in cgroups of their own, for tests on a kernel with cgroup v2."""

from __future__ import annotations

import os
import signal
import struct
import sys
from typing import TYPE_CHECKING, Any

from substrate.cgroups.hierarchy import choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files
from substrate.cgroups.place import make_world
from substrate.kernel import cgroup2
from substrate.kernel.constants import Clone
from substrate.kernel.linux import syscall

if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.bundle.extension import Limits
    from substrate.cgroups.group import Cgroup

MIB = 1 << 20
OWNER = "/run/substrate/the test"


def start(cgroup: Cgroup, child: Callable[[], object]) -> int:
    """Run a function in a new process that is born in the cgroup; return its pid."""
    arguments = struct.pack(
        "=11Q", Clone.INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup.fd
    )
    pid = syscall("clone3", arguments, 88)
    if pid:
        return pid
    try:
        child()
        os._exit(0)
    finally:
        os._exit(1)


def program(cgroup: Cgroup, *words: str) -> int:
    return start(cgroup, lambda: os.execv(words[0], words))


def python(cgroup: Cgroup, code: str) -> int:
    return program(cgroup, sys.executable, "-ISE", "-c", code)


def sleeper(cgroup: Cgroup) -> int:
    return program(cgroup, "/bin/sleep", "600")


def ended(pid: int) -> int:
    """Reap a child: its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def make(name: str, resources: dict[str, Any] | None = None, ours: Limits | None = None,
         *, accounting: bool = False) -> Cgroup:  # fmt: skip
    place = choose_place(find_hierarchy(), None, name, privileged=True)
    return make_world(place, cgroup_files(resources, ours), OWNER, accounting=accounting)


def value(cgroup: Cgroup, name: str) -> str | None:
    return cgroup2.read(cgroup.fd, name)
