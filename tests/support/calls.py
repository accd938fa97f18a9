"""Calls of the runtime with a caller's peculiarities, calls in the background, and waiting."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.runtime import PROGRAM, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.runtime import Runtime

# What every world needs of the machine.
WORLD = (
    "userns",
    "namespaces",
    "mount_setattr",
    "new_mount_api",
    "openat2",
    "clone3",
    "pidfd",
    "memfd_exec",
    "busybox",
)
# What a world with a layered project needs, as root and as an ordinary user.
LAYERED = (*WORLD, "overlayfs", "overlayfs.idmapped", "overlayfs.userxattr", "seccomp.filter")

_serial = itertools.count(1)


def call_with(runtime: Runtime, *words: str | Path, **options: Any) -> Result:
    """Call the runtime with further arguments of `Popen`, and wait for the call."""
    number = next(_serial)
    out, err = (runtime.folder / f"{name}{number}" for name in ("out", "err"))
    with out.open("wb") as stdout, err.open("wb") as stderr:
        streams = {"stdout": stdout, "stderr": stderr}
        with begin(runtime, *words, **(streams | options)) as process:
            status = process.wait(timeout=60)
    shown = (out.read_text("utf-8", "replace"), err.read_text("utf-8", "replace"))
    return Result(tuple(map(str, words)), status, *shown, out)


def begin(runtime: Runtime, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Call the runtime without waiting; its streams are pipes unless `options` say otherwise."""
    defaults: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": runtime.environment,
        "cwd": runtime.folder,
    }
    argv = [*runtime.argv, *map(str, words)]
    return subprocess.Popen[bytes](argv, **(defaults | options))


def started(runtime: Runtime, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Begin a call whose world prints "ready", and return when it has."""
    process = begin(runtime, *words, **options)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Wait for a call; return its status and the rest of its output."""
    out, _ = process.communicate(timeout=20)
    return process.returncode, out


def bare(runtime: Runtime) -> tuple[list[str], dict[str, str]]:
    """Return argv and environment of the runtime as it is installed, never measured.

    Where hundreds of calls are made, or system calls are counted.
    """
    environment = {
        name: value
        for name, value in runtime.environment.items()
        if not name.startswith("COVERAGE")
    }
    return [*(runtime.argv[:-1] if runtime.is_rootless else []), str(PROGRAM)], environment


def create(runtime: Runtime, world: str, *args: str, **overrides: Any) -> Any:
    """Create a world that would run `args`, and return its state."""
    runtime("create", "--bundle", runtime.bundle(*args, **overrides), world).ok()
    return state(runtime, world)


def run_detached(runtime: Runtime, world: str, *args: str, **overrides: Any) -> Any:
    """Run a world in the background and return its state."""
    bundle = runtime.bundle(*args, **overrides)
    runtime("run", "--detach", "--bundle", bundle, world).ok()
    return state(runtime, world)


def state(runtime: Runtime, world: str) -> Any:
    """Return what `state` says of a world."""
    return runtime("state", world).ok().json()


def cgroup_of(runtime: Runtime, world: str) -> Path:
    """Return the directory of a world's cgroup."""
    return Path(state(runtime, world)["substrate"]["cgroup"])


def until(condition: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Wait until a condition holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.005)


def until_stopped(runtime: Runtime, world: str) -> None:
    """Wait until a world's first process has ended."""
    until(lambda: state(runtime, world)["status"] == "stopped", f"{world} stopped")


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def until_gone(pids: Iterable[int]) -> None:
    """Wait until none of these processes runs."""
    watched = list(pids)
    until(lambda: not any(map(is_running, watched)), f"{watched} ended")


def text_of(path: Path) -> str:
    """Return the content of a file, or "" while it is not there."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""


def text_of_command(pid: int) -> list[str]:
    """Return the words a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")[:-1]


def public_directory(runtime: Runtime, name: str) -> Path:
    """Make a directory that the runtime's user owns."""
    path = runtime.folder / name
    path.mkdir(mode=0o755)
    os.chown(path, runtime.uid, runtime.gid)
    return path


def in_world(runtime: Runtime, script: str, **overrides: Any) -> str:
    """Run a shell script in a busybox world and return what it printed."""
    bundle = runtime.bundle("sh", "-c", script, **overrides)
    return runtime("run", "--bundle", bundle, "w").ok().stdout


def in_host_view(runtime: Runtime, script: str) -> str:
    """Run a script on the host's programs in the project `runtime.folder`/project."""
    project = runtime.folder / "project"
    if not project.exists():
        public_directory(runtime, "project")
    words = ("run", "--bundle", "host-project", "--project", project, "w", "bash", "-c", script)
    return runtime(*words).ok().stdout
