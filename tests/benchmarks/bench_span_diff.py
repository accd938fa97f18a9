"""What a span costs beside its command: the mount at a depth, and its exact diff.

    chrt -r 5 .venv/bin/python tests/benchmarks/bench_span_diff.py

Needs root and overlayfs; works in directories of its own below /tmp and in no world.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING

from substrate.filesystem.diff import diff_layers
from substrate.filesystem.layers import Stacked, stack_options
from substrate.kernel.constants import Fsconfig
from substrate.kernel.linux import syscall

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "trusted.overlay."


def main() -> None:
    """Measure and print, milliseconds."""
    where = tempfile.mkdtemp(prefix="substrate-bench-", dir=sys.argv[1] if sys.argv[1:] else "/tmp")
    try:
        os.chdir(where)
        _mounts()
        _accumulated()
        _many()
    finally:
        os.chdir("/")
        shutil.rmtree(where)


def _mounts() -> None:
    os.mkdir("project")
    names: list[str] = []
    for depth in range(61):
        _layer(f"m{depth}")
        if depth in {1, 10, 30, 60}:
            durations: list[float] = []
            for number in range(15):
                name = f"x{depth}-{number}"
                _layer(name)
                started = time.perf_counter()
                fd = _mount(Stacked(name, tuple(names)))
                durations.append(time.perf_counter() - started)
                os.close(fd)
            _tell(f"mount over {depth} layers", durations)
        names.insert(0, f"m{depth}")


def _accumulated() -> None:
    """100,000 entries in a layer below, 3 changes in the span's."""
    _layer("big")
    for folder in range(1000):
        os.mkdir(f"big/upper/d{folder}")
        for number in range(100):
            open(f"big/upper/d{folder}/f{number}", "wb").close()
    _layer("small")
    _in_overlay("small", ("big",), "echo x >d5/f3; echo y >d6/new; rm d7/f7")
    _measure("diff of 3 changes over 100,000 entries", partial(_diff, "small", "big"), 3)


def _many() -> None:
    """1,000 changed files: in 10 directories, and one in each of 1,000."""
    for name, pattern in (("near", "d[0-9]/f*"), ("far", "d*/f1")):
        _layer(name)
        _in_overlay(name, ("big",), f"for f in {pattern}; do echo x >$f; done")
        _measure(f"diff of 1,000 changed files, {name}", partial(_diff, name, "big"), 1000)


def _diff(*layers: str) -> int:
    found = diff_layers(
        [f"{layers[0]}/upper"], [*(f"{name}/upper" for name in layers[1:]), "project"], PREFIX
    )
    return len(found.entries)


def _in_overlay(name: str, below: tuple[str, ...], script: str) -> None:
    fd = _mount(Stacked(name, below))
    try:
        subprocess.run(
            ["sh", "-c", f"cd /proc/self/fd/{fd} && {script}"], check=True, pass_fds=[fd]
        )
    finally:
        os.close(fd)


def _layer(name: str) -> None:
    for part in ("upper", "work"):
        os.makedirs(f"{name}/{part}")


def _mount(stack: Stacked) -> int:
    context = syscall("fsopen", b"overlay", Fsconfig.FSOPEN_CLOEXEC)
    try:
        for key, value in stack_options(stack, "project", ".", userxattr=False):
            if value is None:
                syscall("fsconfig", context, Fsconfig.SET_FLAG, key.encode(), None, 0)
            else:
                word = value.encode()
                syscall("fsconfig", context, Fsconfig.SET_STRING, key.encode(), word, 0)
        syscall("fsconfig", context, Fsconfig.CMD_CREATE, None, None, 0)
        return syscall("fsmount", context, Fsconfig.FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


def _measure(what: str, act: Callable[[], int], expected: int) -> None:
    durations: list[float] = []
    for _ in range(15):
        started = time.perf_counter()
        found = act()
        durations.append(time.perf_counter() - started)
        assert found == expected, (what, found)
    _tell(what, durations)


def _tell(what: str, durations: list[float]) -> None:
    least, median = min(durations) * 1000, statistics.median(durations) * 1000
    print(f"{what:45} min {least:7.2f}  median {median:7.2f} ms")


if __name__ == "__main__":
    main()
