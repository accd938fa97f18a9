"""Places to attack from: every kind of world a payload can find itself in, with its tools at hand.

In each the payload is uid 0 of its user namespace where it can be, has the default filter and no
capability, and finds the programs of `attack_programs.py` in its working directory.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from substrate import resources
from tests.support import bundles
from tests.support.calls import LAYERED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from tests.support.runtime import Result, Runtime

# What the attacks need of the machine.
ATTACK = (*LAYERED, "gcc")
HOST_VIEW, IMAGE, SHARED_USERS = "host view", "image", "image without user namespace"
ROOTLESS = " rootless"
KINDS = (HOST_VIEW, IMAGE, SHARED_USERS, HOST_VIEW + ROOTLESS, IMAGE + ROOTLESS)
_TOOLS = "/work"
_serial = itertools.count(1)
DEFAULT_FILTER = {"seccomp": {"profile": "default"}}
UNCONFINED: dict[str, Any] = {"substrate": {"seccomp": {"profile": "unconfined"}}}
# Without a user namespace: the payload's uid 0 is the host's.
NO_USERNS: dict[str, Any] = {
    "namespaces": [{"type": kind} for kind in ("mount", "pid", "network", "ipc", "uts", "cgroup")],
    "uidMappings": None,
    "gidMappings": None,
}
CAPABILITY_SETS = ("bounding", "effective", "permitted")


class Place:
    """One kind of world; `run` attacks from inside a new one."""

    def __init__(self, runtime: Runtime, kind: str, programs: Path) -> None:
        self.runtime = runtime
        self.kind = kind
        self.is_host_view = kind.startswith(HOST_VIEW)
        self.project = runtime.folder / "project"
        shutil.copytree(programs, self.project)
        for path in (self.project, *self.project.iterdir()):
            os.chown(path, runtime.uid, runtime.gid)

    def words(self, **changes: Any) -> list[str | Path]:
        """Return the options of `run` and `create` that choose this kind of world."""
        if self.is_host_view:
            bundle = host_view_bundle(self.runtime, **changes)
            return ["--bundle", bundle, "--project", self.project]
        linux: dict[str, Any] = NO_USERNS if self.kind == SHARED_USERS else {}
        own: dict[str, Any] = {
            "process": {"cwd": _TOOLS},
            "linux": linux,
            "substrate": DEFAULT_FILTER,
            "mounts": image_mounts(self.project, _TOOLS),
        }
        return ["--bundle", self.runtime.bundle(**bundles.merged(own, changes))]

    def run(self, script: str, stdin: str = "", **changes: Any) -> str:
        """Run a shell script in a new world and return all it printed, errors too."""
        words = self.words(**changes)
        command = ("sh", "-c", f"exec 2>&1\n{script}")
        return self.runtime("run", *words, "w", *command, stdin=stdin).ok().stdout

    def attempt(self, calls: Iterable[str], **changes: Any) -> dict[str, str]:
        """Make system calls (see ATTEMPT) in a new world; return name -> outcome."""
        output = self.run("./attempt", "\n".join(calls) + "\n", **changes)
        pairs = (line.partition(" ") for line in output.splitlines())
        return {name: outcome(word) for name, _, word in pairs}


def outcome(word: str) -> str:
    """Return an errno's name, "ok" for 0, or how the call's process was killed."""
    if not word.isdigit():
        return word
    return errno.errorcode[int(word)] if int(word) else "ok"


def image_mounts(source: Path, destination: str) -> list[dict[str, Any]]:
    """Return the mounts of a test image, and a folder of the host bound into it."""
    mounts: list[dict[str, Any]] = bundles.default_config(source)["mounts"]
    options = ["bind", "ro", "nosuid", "nodev"]
    bind = {"destination": destination, "source": str(source), "options": options}
    return [*mounts, bind]


def host_view_bundle(runtime: Runtime, **changes: Any) -> Path:
    """Write a copy of the bundle `host-project`, changed, and return its directory."""
    directory = resources.bundle_path("host-project")
    assert directory is not None
    with open(f"{directory}/config.json", encoding="utf-8") as file:
        config = bundles.merged(json.load(file), changes)
    return bundles.write_bundle(runtime.folder / f"view{next(_serial)}", config)


def with_capabilities(*names: str) -> dict[str, Any]:
    """Return the process settings that give the payload capabilities."""
    return {"capabilities": {which: list(names) for which in CAPABILITY_SETS}}


@contextmanager
def background(argv: Sequence[str | Path]) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run a program of the host beside the attack, and kill it at the end."""
    process = subprocess.Popen(
        [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def text_of_refusal(result: Result) -> str:
    """Return what a refused call said; fails when it was not refused."""
    assert result.status != 0, result
    return result.stderr
