"""What a test may not leave behind: a census before, a census after, and what is new.

Processes and namespaces are those of our descendants. Under tests/support/reaper.py (ci/test uses
it) these include processes whose parents ended; without it such orphans belong to init and are
not seen.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from tests.support.reaper import VARIABLE

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_PATIENCE_S = 2.0

Census = dict[str, set[str]]


def take_census() -> Census:
    """Return what exists now, by kind, as words that mean something in a failure."""
    processes = _descendants()
    return {
        "mounts": _mounts(),
        "processes": {f"{pid} {_name(pid)}" for pid in processes},
        "namespaces": {link for pid in [os.getpid(), *processes] for link in _namespaces(pid)},
        "descriptors": _descriptors(),
        "cgroups": _cgroups(),
        "links": _links(),
    }


def new_since(before: Census) -> dict[str, list[str]]:
    """Return what is there now and was not in `before`, after up to two seconds for it to go."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        now = take_census()
        leaked = {
            kind: sorted(now[kind] - before[kind]) for kind in now if now[kind] - before[kind]
        }
        if not leaked or time.monotonic() > deadline:
            return leaked
        time.sleep(0.02)


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    # Mount point and what is mounted, not the ids, which a remount would change.
    return {f"{line.split(' ')[4]} {line.partition(' - ')[2]}" for line in lines}


def _descendants() -> list[int]:
    ancestor = int(os.environ.get(VARIABLE, os.getpid()))
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with suppress(OSError):
            # pid (comm) state ppid …; comm may contain anything, parentheses too.
            text = Path(f"/proc/{entry}/stat").read_text("utf-8", "replace")
            parent = int(text.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    pending = [ancestor]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return [pid for pid in found if pid != os.getpid()]


def _name(pid: int) -> str:
    with suppress(OSError):
        words = (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
        return words.strip() or Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    return "(gone)"


def _namespaces(pid: int) -> list[str]:
    links: list[str] = []
    for name in NAMESPACES:
        with suppress(OSError):
            links.append(os.readlink(f"/proc/{pid}/ns/{name}"))
    return links


def _descriptors() -> set[str]:
    found: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        # The directory being listed has no link any more.
        with suppress(OSError):
            found.add(f"{number} -> {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def _cgroups() -> set[str]:
    return {
        folder
        for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
        if os.path.exists(f"{mount}/cgroup.procs")
        for folder, _, _ in os.walk(mount)
    }


def _links() -> set[str]:
    # A container may have no sysfs; then there is nothing to look at.
    links: set[str] = set()
    with suppress(FileNotFoundError):
        links.update(os.listdir("/sys/class/net"))
    return links
