"""One interleaved run of the lifecycle's calls beside crun, runc and bwrap; see `ci/bench`.

All subjects get one bundle: a root file system with programs of a few bytes that need no C
library, seven new namespaces, the default seccomp profile, no cgroup. They take turns, so that
whatever else the machine does meets all of them. Not a test: it passes no judgement.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "runtime"), str(ROOT)]

from substrate.seccomp.profiles import load_profile  # noqa: E402 -- found by the line above
from substrate.world.context import Context  # noqa: E402
from substrate.world.create import CreateRequest  # noqa: E402
from substrate.world.exec import ExecRequest, execute  # noqa: E402
from substrate.world.overrides import Overrides  # noqa: E402
from substrate.world.run import Manner  # noqa: E402
from substrate.world.run import run as run_world  # noqa: E402
from tests.support.bundles import default_config  # noqa: E402

PROGRAM = ROOT / ".venv/bin/substrate-runtime"
PYTHON = ROOT / ".venv/bin/python"
SLEEPER = "bench-sleeper"
_REALTIME_PRIORITY = 5
_UNSHARED = "SUBSTRATE_BENCH_UNSHARED"
# exit_group(0), and pause() for ever: a C library costs more to start than what is measured.
_SOURCES = {
    "true": '__asm__(".globl _start\\n_start: xor %edi,%edi\\n mov $231,%eax\\n syscall");',
    "pause": '__asm__(".globl _start\\n_start: mov $34,%eax\\n syscall\\n jmp _start");',
}
# Only the second version of cgroups, and nothing to be changed in it: crun refuses hybrid hosts,
# and no runtime shall make cgroups on this one.
_VIEW = (
    "umount -R /sys/fs/cgroup 2>/dev/null; mkdir -p /sys/fs/cgroup"
    " && mount -t cgroup2 none /sys/fs/cgroup && mount -o remount,bind,ro /sys/fs/cgroup"
    ' ; exec "$@"'
)


@dataclass
class Subject:
    """One way to do one operation, and the times it took, in milliseconds.

    `before` is done each time before the clock is started.
    """

    operation: str
    name: str
    act: Callable[[], float]
    before: Callable[[], object] | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Do it once."""
        if self.before is not None:
            self.before()
        begun = time.perf_counter()
        self.cpu.append(self.act())
        self.wall.append((time.perf_counter() - begun) * 1000)

    def figures(self) -> dict[str, float]:
        """Return what is reported of the times."""
        ordered = sorted(self.wall)
        return {
            "min": ordered[0],
            "median": statistics.median(ordered),
            "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            "cpu": statistics.median(self.cpu),
        }


class Workshop:
    """The folder, the bundle and the calls of one benchmark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rootfs = folder / "rootfs"
        self.environment = {"SUBSTRATE_HOME": str(folder / "home"), "PATH": os.environ["PATH"]}
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._number = 0
        for name in ("proc", "dev", "sys", "tmp", "etc", "bin"):
            (self.rootfs / name).mkdir(parents=True)
        for name, source in _SOURCES.items():
            (folder / f"{name}.c").write_text(source, encoding="ascii")
            program = self.rootfs / "bin" / name
            subprocess.run(
                ["gcc", "-nostdlib", "-static", "-s", "-o", program, folder / f"{name}.c"],
                check=True,
            )
        self.bundles = {name: self._bundle(name) for name in _SOURCES}

    def _bundle(self, program: str) -> Path:
        config = default_config(self.rootfs)
        # What every release of the peers takes.
        config["ociVersion"] = "1.0.2"
        config["process"]["args"] = [f"/bin/{program}"]
        config["linux"]["seccomp"] = _plain_filter()
        directory = self.folder / f"bundle-{program}"
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return directory

    def fresh_id(self) -> str:
        """Return a world id that was not used before."""
        self._number += 1
        return f"bench{self._number}"

    def call(self, *words: str | Path) -> float:
        """Run a program to its end; return the processor time it and its children took, in ms."""
        argv = [str(word) for word in words]
        quiet = [(os.POSIX_SPAWN_DUP2, self._null, fd) for fd in (0, 1)]
        pid = os.posix_spawn(argv[0], argv, self.environment, file_actions=quiet)
        _, status, usage = os.wait4(pid, 0)
        if status:
            message = f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}"
            raise SystemExit(message)
        return (usage.ru_utime + usage.ru_stime) * 1000


class Peer:
    """A runtime called as a program, with the options it needs to make no cgroup."""

    def __init__(self, shop: Workshop, name: str, argv: list[str]) -> None:
        self.shop, self.name, self.argv = shop, name, argv

    def __call__(self, *words: str | Path) -> float:
        return self.shop.call(*self.argv, *words)

    def subjects(self) -> list[Subject]:
        """Return what this runtime can be measured at."""
        bundle = self.shop.bundles["true"]
        made: list[tuple[str, Callable[[], float]]] = [
            ("run", lambda: self("run", "--bundle", bundle, self.shop.fresh_id())),
            ("exec", lambda: self("exec", SLEEPER, "/bin/true")),
            ("state", lambda: self("state", SLEEPER)),
            ("create, start, delete", self._in_steps),
        ]
        return [Subject(operation, self.name, act) for operation, act in made]

    def _in_steps(self) -> float:
        world = self.shop.fresh_id()
        cpu = self("create", "--bundle", self.shop.bundles["pause"], world) + self("start", world)
        return cpu + self("delete", "--force", world)

    def begin(self) -> None:
        """Start the world that `exec` and `state` are measured on."""
        self("run", "--detach", "--bundle", self.shop.bundles["pause"], SLEEPER)

    def end(self) -> None:
        """End it."""
        self("delete", "--force", SLEEPER)


class InProcess:
    """Substrate as a library: no process is started but the world's own."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        home = shop.folder / "home"
        self._context = Context(str(home / "state"), str(home / "data"), str(home / "cache"))

    def subjects(self) -> list[Subject]:
        """Return what the library can be measured at."""
        name = "substrate, in process"
        return [Subject("run", name, self._run), Subject("exec", name, self._execute)]

    def _run(self) -> float:
        begun = own_cpu()
        request = CreateRequest(
            world_id=self._shop.fresh_id(),
            bundle=str(self._shop.bundles["true"]),
            listening=False,
        )
        _check(run_world(self._context, request, lambda _warning: None, Manner()).status)
        return own_cpu() - begun

    def _execute(self) -> float:
        begun = own_cpu()
        request = ExecRequest(SLEEPER, overrides=Overrides(args=("/bin/true",)))
        _check(execute(self._context, request, print).status)
        return own_cpu() - begun


def _plain_filter() -> dict[str, Any]:
    """Return the default profile's allow-list alone: older peers refuse overlapping rules."""
    allowed = {
        name
        for rule in load_profile("default")["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }
    rule = {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}


def own_cpu() -> float:
    """Return the processor time of this process and its children so far, in milliseconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used) * 1000


def _check(status: int) -> None:
    if status:
        message = f"a world ended with status {status}"
        raise SystemExit(message)


def floors(shop: Workshop) -> list[Subject]:
    """Return what no runtime can be faster than."""
    program = shop.rootfs / "bin/true"
    bare = [str(PYTHON), "-ISE", "-c", "import os; os._exit(0)"]
    return [
        Subject("floor", "the program itself", lambda: shop.call(program)),
        Subject("floor", "python that does nothing", lambda: shop.call(*bare)),
    ]


def bwrap(shop: Workshop) -> list[Subject]:
    """Return bubblewrap, which makes a world with neither filter nor state."""
    found = shutil.which("bwrap")
    if found is None:
        return []
    view: list[str | Path] = ["--ro-bind", shop.rootfs, "/", "--proc", "/proc", "--dev", "/dev"]
    argv = [found, "--unshare-all", *view, "--tmpfs", "/tmp", "/bin/true"]
    return [Subject("run", "bwrap", lambda: shop.call(*argv))]


def other_executor(shop: Workshop) -> Subject:
    """Return `run` by the executor that needs no compiler."""
    words: list[str | Path] = ["run", "--executor", "python", "--bundle", shop.bundles["true"]]
    return Subject(
        "run", "substrate, Python executor",
        lambda: shop.call(PROGRAM, *words, shop.fresh_id()),
    )  # fmt: skip


def peers(shop: Workshop) -> list[Peer]:
    """Return the runtimes that are installed, ours first."""
    found = [Peer(shop, "substrate", [str(PROGRAM)])]
    roots = shop.folder / "peers"
    for name, options in (
        ("crun", ["--cgroup-manager=disabled"]),
        ("runc", ["--rootless=true"]),
    ):
        program = shutil.which(name)
        if program is not None:
            found.append(Peer(shop, name, [program, "--root", str(roots / name), *options]))
    return found


def measure(shop: Workshop, rounds: int) -> list[Subject]:
    """Return all subjects, measured in turns."""
    runtimes = peers(shop)
    started: list[Peer] = []
    try:
        for runtime in runtimes:
            runtime.begin()
            started.append(runtime)
        subjects = [*floors(shop), *bwrap(shop), other_executor(shop)]
        subjects += InProcess(shop).subjects()
        subjects += [subject for runtime in runtimes for subject in runtime.subjects()]
        gc.disable()
        for number in range(-2, rounds):
            for subject in subjects:
                subject.measure()
            if number < 0:
                # Files and caches are warm now.
                for subject in subjects:
                    subject.wall.clear()
                    subject.cpu.clear()
            gc.collect()
    finally:
        for runtime in started:
            with suppress(SystemExit):
                runtime.end()
    return subjects


def machine(realtime: bool) -> dict[str, Any]:
    """Return what the figures were measured on."""
    processor = "unknown"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    versions: dict[str, str] = {}
    for name in ("crun", "runc", "bwrap"):
        if shutil.which(name):
            done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
            versions[name] = done.stdout.splitlines()[0].strip()
    return {
        "processor": processor,
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "realtime": realtime,
        "load": os.getloadavg()[0],
        "peers": versions,
    }


def as_data(subjects: list[Subject]) -> list[dict[str, Any]]:
    """Return the figures with the ratios of the medians to those of the peers."""
    medians = {
        (subject.operation, subject.name): subject.figures()["median"] for subject in subjects
    }
    rows: list[dict[str, Any]] = []
    for subject in subjects:
        figures = {name: round(value, 3) for name, value in subject.figures().items()}
        ratios = {
            peer: round(figures["median"] / medians[subject.operation, peer], 2)
            for peer in ("crun", "runc")
            if (subject.operation, peer) in medians
        }
        row = {"operation": subject.operation, "subject": subject.name}
        rows.append(row | figures | {"ratio": ratios})
    return sorted(rows, key=lambda row: (row["operation"], row["median"]))


def as_table(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    told = ", ".join(f"{name}: {value}" for name, value in about.items() if name != "peers")
    lines = [told, ", ".join(about["peers"].values()), ""]
    lines.append("| operation | subject | min ms | median | p99 | cpu | x crun | x runc |")
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        times = " | ".join(f"{row[name]:.2f}" for name in ("min", "median", "p99", "cpu"))
        ratios = " | ".join(
            f"{row['ratio'][peer]:.2f}" if peer in row["ratio"] else "" for peer in ("crun", "runc")
        )
        lines.append(f"| {row['operation']} | {row['subject']} | {times} | {ratios} |")
    return "\n".join(lines) + "\n"


def with_own_view(program: str, words: list[str]) -> None:
    """Become this program again in a mount namespace where the peers can run."""
    if os.environ.get(_UNSHARED) or os.geteuid() != 0:
        return
    os.environ[_UNSHARED] = "1"
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", _VIEW, "sh"]
    os.execvp(argv[0], [*argv, sys.executable, program, *words])


def take_realtime() -> bool:
    """Ask for a scheduling class that other load does not disturb; whether it was had."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REALTIME_PRIORITY))
    except PermissionError:
        return False
    return True


def main(words: list[str]) -> None:
    """Be the program."""
    parser = argparse.ArgumentParser(prog="ci/bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=100, help="how often each is measured")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args(words)
    with_own_view(__file__, words)
    realtime = take_realtime()
    folder = Path(tempfile.mkdtemp(prefix="sw-bench-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        about = machine(realtime)
        rows = as_data(measure(Workshop(folder), arguments.rounds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        text = json.dumps({"machine": about, "figures": rows}, indent=2) + "\n"
        Path(arguments.json).write_text(text, encoding="utf-8")
    sys.stdout.write(as_table(about, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
