"""Processes in cgroups of their own, for tests on a kernel with cgroup v2."""

from __future__ import annotations

import os
import signal
import struct
import sys
from typing import TYPE_CHECKING, Any

from substrate.cgroups.convert import parse_list
from substrate.cgroups.hierarchy import choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files
from substrate.cgroups.owned import remove_world
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


def refused_file(values: dict[str, str]) -> str:
    """Return the first of these files whose value names what this machine does not have, or ""."""
    return next((name for name, text in values.items() if not _is_possible(name, text)), "")


def _is_possible(name: str, text: str) -> bool:
    if name == "cpuset.cpus":
        return max(parse_list(text)) < (os.cpu_count() or 1)
    if name == "cpuset.cpus.partition":
        # Only below another partition, which no cgroup above a world is.
        return text == "member"
    if name.startswith("rdma."):
        return all(os.path.exists(f"/sys/class/infiniband/{line.split()[0]}")
                   for line in text.splitlines())  # fmt: skip
    if name == "io.max":
        return all(os.path.exists(f"/sys/dev/block/{line.split()[0]}")
                   for line in text.splitlines())  # fmt: skip
    if name == "io.bfq.weight":
        words = text.split()
        return _weighs() and (len(words) == 1 or os.path.exists(f"/sys/dev/block/{words[0]}"))
    return True


def _weighs() -> bool:
    """Whether input and output have weights; nobody can see it but in a cgroup below the root."""
    with make("weighs", accounting=True) as world:
        found = any(value(world, name) is not None for name in ("io.bfq.weight", "io.weight"))
        remove_world(world.directory, OWNER)
    return found
