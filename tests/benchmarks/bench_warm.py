"""What a command costs in a world that is there already, beside `crun exec`: one interleaved run.

    ci/bench warm [--rounds N] [--changing N] [--json FILE]

The payload needs no C library, so what is measured is what surrounds it. The library's commands
are whole ones: decided by a policy, put on record before and after, run over a layer of their own,
and that layer read. Not a test: it passes no judgement.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "runtime"), str(ROOT)]

from substrate.api import records  # noqa: E402 -- found by the line above
from substrate.api.client import AgentWorld  # noqa: E402
from substrate.api.inprocess import InProcessWorld  # noqa: E402
from substrate.world.context import Context  # noqa: E402
from substrate.world.create import CreateRequest  # noqa: E402
from substrate.world.delete import delete  # noqa: E402
from substrate.world.exec import ExecRequest, execute  # noqa: E402
from substrate.world.overrides import Overrides  # noqa: E402
from substrate.world.run import Manner, run  # noqa: E402
from tests.benchmarks.bench_lifecycle import (  # noqa: E402
    SLEEPER,
    InProcess,
    Peer,
    Subject,
    Workshop,
    as_data,
    as_table,
    floors,
    machine,
    own_cpu,
    peers,
    take_realtime,
    with_own_view,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.api.protocol import World as ApiWorld

EXEC = "warm command"
REST_S = 0.01
SUBSTRATE = ROOT / ".venv/bin/substrate"
# Writes three files: one that the project has, and two of its own.
_EDIT = r"""
static long call(long n, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
             : "rcx", "r11", "memory");
    return result;
}
static void put(const char *path)
{
    long fd = call(257, -100, (long)path, 01101, 0644);
    call(1, fd, (long)"changed\n", 8, 0);
    call(3, fd, 0, 0, 0);
}
void _start(void)
{
    put("known.txt");
    put("first.txt");
    put("second.txt");
    call(231, 0, 0, 0, 0);
}
"""
_POLICY = """
cmd_denied: ["rm -rf *", "sudo *", "git push --force *"]
cmd_isolated: ["curl *"]
"""


class Place:
    """A project and a home for Substrate, and the bundle of its sessions."""

    def __init__(self, shop: Workshop, name: str) -> None:
        folder = shop.folder / name.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        self.project = folder / "project"
        self.project.mkdir()
        for number in range(100):
            (self.project / f"file{number}.txt").write_text("as it was\n", encoding="ascii")
        (self.project / "known.txt").write_text("as it was\n", encoding="ascii")
        (self.home / "config").mkdir(mode=0o700)
        policy = self.home / "config/policy.yaml"
        policy.write_text(_POLICY, encoding="utf-8")
        policy.chmod(0o600)
        self.bundle = folder / "bundle"
        self.bundle.mkdir()
        config = json.loads((shop.bundles["true"] / "config.json").read_text(encoding="utf-8"))
        # As the bundles for people have it: the whole profile, by its name, and the project's
        # owner as the world's root.
        for key in ("seccomp", "uidMappings", "gidMappings"):
            del config["linux"][key]
        config["substrate"] = {
            "project": {"path": str(self.project), "write": "layers"},
            "seccomp": {"profile": "default"},
        }
        (shop.rootfs / str(self.project).lstrip("/")).mkdir(parents=True, exist_ok=True)
        (self.bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")

    @property
    def context(self) -> Context:
        """Where things are kept."""
        state, data, cache = (str(self.home / name) for name in ("state", "data", "cache"))
        return Context(state, data, cache)

    @property
    def environment(self) -> dict[str, str]:
        """What a caller has."""
        return {"SUBSTRATE_HOME": str(self.home), "HOME": "/root", "PATH": os.environ["PATH"]}

    @property
    def spec(self) -> records.WorldSpec:
        """The session."""
        return records.WorldSpec(bundle=str(self.bundle), project_dir=str(self.project))


class Spans:
    """`exec --span` as the library has it: no policy and no trace."""

    def __init__(self, shop: Workshop) -> None:
        self._place = Place(shop, "spans")
        self._number = 0

    def begin(self) -> None:
        """Start the world."""
        request = CreateRequest(
            world_id=SLEEPER, bundle=str(self._place.bundle), listening=False, idle=True
        )
        run(self._place.context, request, _loud, Manner(detach=True))

    def end(self) -> None:
        """End it."""
        delete(self._place.context, SLEEPER, _loud, force=True)

    def subjects(self) -> list[Subject]:
        """Return what is measured of it."""
        return [Subject(EXEC, "substrate, exec --span", self._execute)]

    def _execute(self) -> float:
        begun = own_cpu()
        self._number += 1
        request = ExecRequest(
            SLEEPER, overrides=Overrides(args=("/bin/true",)), span_id=f"bench-{self._number}"
        )
        _check(execute(self._place.context, request, _loud).status)
        return own_cpu() - begun


class Library:
    """The world API in this process."""

    def __init__(self, shop: Workshop, name: str, program: str) -> None:
        self._place = Place(shop, name)
        self._name, self._program = name, program
        self._world: ApiWorld = InProcessWorld(
            self._place.context, str(self._place.project), self._place.environment, _loud
        )

    def begin(self) -> None:
        """Make the session's world."""
        self._world.ensure_session(self._place.spec)

    def end(self) -> None:
        """End it."""
        self._world.destroy()

    def subjects(self) -> list[Subject]:
        """Return what is measured of it: after a moment, and right after another command."""
        name = f"substrate, {self._name}"
        return [
            Subject(EXEC, name, self._execute, _rest),
            Subject(EXEC, f"{name}, at once", self._execute, self._execute),
        ]

    def _execute(self) -> float:
        begun = own_cpu()
        result = self._world.exec(records.ExecRequest(argv=(self._program,)))
        _check(result.exit)
        changed = 0 if result.fs_diff is None else len(result.fs_diff.entries)
        if result.telemetry or (changed > 0) != (self._program == "/bin/edit"):
            message = f"{self._name}: {changed} changes, {result.telemetry}"
            raise SystemExit(message)
        return own_cpu() - begun


class ByAgent(Library):
    """The world API through `substrate agent`, a process of its own."""

    def __init__(self, shop: Workshop, name: str, program: str) -> None:
        super().__init__(shop, name, program)
        self._socket = str(self._place.home / "agent.sock")
        self._world = AgentWorld(self._socket)
        self._agent: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start the agent, which makes the session's world."""
        words = ["--bundle", self._place.bundle, "agent", "--socket", self._socket]
        self._agent = subprocess.Popen(
            [SUBSTRATE, *map(str, words)], env=self._place.environment, cwd=self._place.project,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not os.path.exists(self._socket):
            if time.monotonic() > deadline or self._agent.poll() is not None:
                message = "the agent does not come up"
                raise SystemExit(message)
            time.sleep(0.05)
        self._world.ensure_session(records.WorldSpec())

    def end(self) -> None:
        """End the world and the agent."""
        self._world.destroy()
        if self._agent is not None:
            self._agent.send_signal(signal.SIGTERM)
            self._agent.wait()


def _rest() -> None:
    """Be away for as long as a person or a model at least is between two commands."""
    time.sleep(REST_S)


def _loud(warning: str) -> None:
    sys.stderr.write(f"bench_warm: {warning}\n")


def _check(status: int) -> None:
    if status:
        message = f"a command ended with status {status}"
        raise SystemExit(message)


def _compile_edit(shop: Workshop) -> None:
    source = shop.folder / "edit.c"
    source.write_text(_EDIT, encoding="ascii")
    options = ["-Os", "-nostdlib", "-static", "-s", "-fno-stack-protector", "-o"]
    subprocess.run(["gcc", *options, shop.rootfs / "bin/edit", source], check=True)


def measure(shop: Workshop, rounds: int) -> list[Subject]:
    """Return all subjects, measured in turns."""
    _compile_edit(shop)
    runtimes = [peer for peer in peers(shop) if peer.name in ("crun", "substrate")]
    ours: list[Spans | Library] = [
        Spans(shop),
        Library(shop, "library", "/bin/true"),
        Library(shop, "library, 3 files changed", "/bin/edit"),
        ByAgent(shop, "agent", "/bin/true"),
        ByAgent(shop, "agent, 3 files changed", "/bin/edit"),
    ]
    started: list[Peer | Spans | Library] = []
    try:
        everybody: list[Peer | Spans | Library] = [*runtimes, *ours]
        for one in everybody:
            one.begin()
            started.append(one)
        subjects = [*floors(shop)[:1]]
        subjects += [
            _renamed(peer.subjects(), "exec", "crun") for peer in runtimes if peer.name == "crun"
        ]
        subjects.append(_renamed(InProcess(shop).subjects(), "exec", "substrate, exec"))
        for own in ours:
            subjects += own.subjects()
        _take_turns(subjects, rounds)
    finally:
        for one in reversed(started):
            with suppress(SystemExit):
                one.end()
    return subjects


def _renamed(subjects: list[Subject], operation: str, name: str) -> Subject:
    found: Callable[[], float] = next(
        subject.act for subject in subjects if subject.operation == operation
    )
    return Subject(EXEC, name, found)


def _take_turns(subjects: list[Subject], rounds: int) -> None:
    gc.disable()
    for number in range(-5, rounds):
        for subject in subjects:
            subject.measure()
            # What a subject does after its answer is not to be in the next one's time.
            _rest()
        if number < 0:
            # Files and caches are warm now.
            for subject in subjects:
                subject.wall.clear()
                subject.cpu.clear()
        gc.collect()


def main(words: list[str]) -> None:
    """Be the program."""
    parser = argparse.ArgumentParser(
        prog="ci/bench warm", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=200, help="how often each is measured")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args(words)
    with_own_view(__file__, words)
    realtime = take_realtime()
    folder = Path(tempfile.mkdtemp(prefix="sw-warm-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        about: dict[str, Any] = machine(realtime)
        rows = as_data(measure(Workshop(folder), arguments.rounds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        text = json.dumps({"machine": about, "figures": rows}, indent=2) + "\n"
        Path(arguments.json).write_text(text, encoding="utf-8")
    sys.stdout.write(as_table(about, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
