"""What a span costs beside its command: the mount at a depth, and its exact diff.

    chrt -r 5 .venv/bin/python tests/benchmarks/bench_span_diff.py [--rounds N] [DIRECTORY]

Needs root and overlayfs; works in directories of its own below /tmp (or DIRECTORY), in a mount
namespace of its own and in no world. All subjects take turns in one run. Where podman is
installed, `podman diff` of a container with the same changes over an image of the same files is
one of them, with its storage in the same place.
"""

from __future__ import annotations

import argparse
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

    # Does one round and returns how many changes it found.
    Subject = Callable[[], int]

PREFIX = "trusted.overlay."
DEPTHS = (1, 10, 30, 60)
FOLDERS, FILES = 1000, 100
# 1,000 files that exist already: where they are -> how a shell names them.
CHANGED = {"10 directories": "d[0-9]/f*", "1,000 directories": "d*/f1"}
_INSIDE = "SUBSTRATE_BENCH_INSIDE"
_COLD = """
import sys
sys.path.insert(0, sys.argv[1])
from substrate.filesystem.diff import diff_layers
print(len(diff_layers([sys.argv[2]], [sys.argv[3]], sys.argv[4]).entries))
"""


def main() -> None:
    """Measure and print, milliseconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("directory", nargs="?", default="/tmp")
    given = parser.parse_args()
    if _INSIDE not in os.environ:
        # What podman mounts ends with the namespace.
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(words[0], words, os.environ | {_INSIDE: "1"})
    where = tempfile.mkdtemp(prefix="sb-", dir=given.directory)
    try:
        os.chdir(where)
        _measure_mounts(given.rounds)
        _measure_diffs(given.rounds)
    finally:
        os.chdir("/")
        _podman(where, "umount", "--all")
        subprocess.run(["umount", "-qR", f"{where}/podman/overlay"], check=False)
        shutil.rmtree(where)


def _measure_mounts(rounds: int) -> None:
    os.mkdir("empty")
    names: list[str] = []
    for depth in range(max(DEPTHS) + 1):
        _make_layer(f"m{depth}")
        names.insert(0, f"m{depth}")
    durations: dict[str, list[float]] = {f"mount over {depth} layers": [] for depth in DEPTHS}
    for number in range(rounds):
        for depth, label in zip(DEPTHS, durations, strict=True):
            name = f"x{depth}-{number}"
            _make_layer(name)
            started = time.perf_counter()
            fd = _mount(Stacked(name, tuple(names[:depth])), "empty")
            durations[label].append(time.perf_counter() - started)
            os.close(fd)
    for label, found in durations.items():
        print(_row(label, "", found))


def _measure_diffs(rounds: int) -> None:
    """100,000 files: in a project, in a layer of an earlier span, in an image of podman's."""
    _make_layer("big")
    for root in ("project", "big/upper"):
        for folder in range(FOLDERS):
            os.makedirs(f"{root}/d{folder}")
            for number in range(FILES):
                with open(f"{root}/d{folder}/f{number}", "wb") as file:
                    file.write(b"x" * 500)
    _make_layer("small")
    _change("small", ("big",), "empty", "echo x >d5/f3; echo y >d6/new; rm d7/f7")
    subjects: dict[tuple[str, str], tuple[Subject, int]] = {
        ("3 changes over 100,000 entries", "over a layer"): (
            partial(_diff, ["small/upper"], ["big/upper", "empty"]), 3,
        )
    }  # fmt: skip
    has_podman = shutil.which("podman") is not None and _make_image()
    for number, (what, pattern) in enumerate(CHANGED.items()):
        name, script = f"c{number}", f"for f in {pattern}; do echo x >$f; done"
        _make_layer(name)
        _make_layer(name + "-over")
        _change(name, (), "project", script)
        _change(name + "-over", ("big",), "empty", script)
        upper = f"{name}/upper"
        label = f"1,000 changed files in {what}"
        over = partial(_diff, [f"{name}-over/upper"], ["big/upper", "empty"])
        subjects[label, "in process"] = (partial(_diff, [upper], ["project"]), 1000)
        subjects[label, "in process, over a layer"] = (over, 1000)
        subjects[label, "in a new process"] = (partial(_diff_cold, upper, "project"), 1000)
        if has_podman:
            _make_container(name, script)
            subjects[label, "podman diff"] = (partial(_podman_diff, name), 1000)
    durations: dict[tuple[str, str], list[float]] = {key: [] for key in subjects}
    for _ in range(rounds):
        for key, (subject, expected) in subjects.items():
            started = time.perf_counter()
            count = subject()
            durations[key].append(time.perf_counter() - started)
            assert count >= expected, (key, count)
    for key, found in durations.items():
        peer = durations.get((key[0], "podman diff"))
        print(_row(*key, found, peer))


def _diff(uppers: list[str], lowers: list[str]) -> int:
    return len(diff_layers(uppers, lowers, PREFIX).entries)


def _diff_cold(upper: str, lower: str) -> int:
    runtime = os.path.join(os.path.dirname(__file__), "../../runtime")
    words = [sys.executable, "-ISE", "-c", _COLD, runtime, upper, lower, PREFIX]
    return int(subprocess.run(words, check=True, capture_output=True).stdout)


def _podman(where: str, *words: str, text: str | None = None) -> str:
    storage = ("--root", f"{where}/podman", "--runroot", f"{where}/run")
    options = ("--storage-driver", "overlay", "--events-backend", "none")
    if shutil.which("podman") is None:
        return ""
    done = subprocess.run(
        ["podman", *storage, *options, *words], input=text, text=True, check=False,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        print(f"podman {words[0]}: {done.stderr.strip()}", file=sys.stderr)
    return done.stdout


def _make_image() -> bool:
    subprocess.run(["tar", "-C", "project", "-cf", "image.tar", "."], check=True)
    return bool(_podman(os.getcwd(), "import", "--quiet", "image.tar", "base:1"))


def _make_container(name: str, script: str) -> None:
    _podman(os.getcwd(), "create", "--name", name, "base:1", "/none")
    merged = _podman(os.getcwd(), "mount", name).strip()
    subprocess.run(["sh", "-c", f"cd {merged} && {script}"], check=True)
    _podman(os.getcwd(), "umount", name)


def _podman_diff(name: str) -> int:
    return len(_podman(os.getcwd(), "diff", name).splitlines())


def _change(name: str, below: tuple[str, ...], project: str, script: str) -> None:
    fd = _mount(Stacked(name, below), project)
    try:
        subprocess.run(
            ["sh", "-c", f"cd /proc/self/fd/{fd} && {script}"], check=True, pass_fds=[fd]
        )
    finally:
        os.close(fd)


def _make_layer(name: str) -> None:
    for part in ("upper", "work"):
        os.makedirs(f"{name}/{part}")


def _mount(stack: Stacked, project: str) -> int:
    context = syscall("fsopen", b"overlay", Fsconfig.FSOPEN_CLOEXEC)
    try:
        for key, value in stack_options(stack, project, ".", userxattr=False):
            if value is None:
                syscall("fsconfig", context, Fsconfig.SET_FLAG, key.encode(), None, 0)
            else:
                word = value.encode()
                syscall("fsconfig", context, Fsconfig.SET_STRING, key.encode(), word, 0)
        syscall("fsconfig", context, Fsconfig.CMD_CREATE, None, None, 0)
        return syscall("fsmount", context, Fsconfig.FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


def _row(what: str, who: str, found: list[float], peer: list[float] | None = None) -> str:
    times = sorted(found)
    figures = (times[0], statistics.median(times), times[-1])
    row = f"{what:42} {who:26}" + "".join(f"{one * 1000:9.2f}" for one in figures)
    if peer is not None:
        row += f"{statistics.median(times) / statistics.median(peer):8.2f}"
    return row


if __name__ == "__main__":
    print(f"{'ms':68}{'min':>9}{'median':>9}{'max':>9}{'x podman':>9}")
    main()
