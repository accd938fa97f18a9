"""The OCI lifecycle of a world: create, start, kill, delete, run, and what each leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from substrate.errors import WorldNotFoundError
from substrate.world.context import Context
from substrate.world.delete import delete
from substrate.world.store import World
from tests.support import calls, injection
from tests.support.bundles import default_config
from tests.support.features import requires
from tests.support.runtime import ROOT

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)

ON_SIGNAL = (
    'for s in HUP INT TERM USR1; do trap "echo $s; exit 9" $s; done; echo ready; '
    "while :; do sleep 0.02; done"
)
SLEEP = ("sleep", "600")


def test_world_goes_through_created_running_and_stopped(any_runtime: Runtime) -> None:
    created = calls.create(any_runtime, "w", "sh", "-c", "echo out; sleep 600")
    assert created["status"] == "created"
    assert os.readlink(f"/proc/{created['pid']}/exe").startswith("/memfd:world-init")
    any_runtime("start", "w").ok()
    running = calls.state(any_runtime, "w")
    assert (running["status"], running["pid"]) == ("running", created["pid"])
    any_runtime("kill", "w", "KILL").ok()
    calls.until_stopped(any_runtime, "w")
    assert calls.state(any_runtime, "w")["pid"] == 0
    any_runtime("delete", "w").ok()
    assert any_runtime.worlds() == []


def test_program_does_not_run_before_start(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("echo", "started")
    created = any_runtime("create", "--bundle", bundle, "w").ok()
    assert created.stdout_later() == ""
    any_runtime("start", "w").ok()
    calls.until(lambda: created.stdout_later() == "started\n", "output of the world")
    calls.until_stopped(any_runtime, "w")


def test_state_is_valid_by_its_schema_in_every_status(any_runtime: Runtime) -> None:
    schema = json.loads((ROOT / "schemas/state.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    notes = {"org.example.a": "1", "org.example.b": ""}
    seen: list[str] = []

    def check() -> None:
        state = calls.state(any_runtime, "w")
        validator.validate(state)
        assert state["annotations"] == notes
        assert any_runtime("list", "--format", "json").ok().json() == [state]
        seen.append(state["status"])

    calls.create(any_runtime, "w", *SLEEP, annotations=notes)
    check()
    any_runtime("start", "w").ok()
    check()
    any_runtime("kill", "w", "9").ok()
    calls.until_stopped(any_runtime, "w")
    check()
    assert seen == ["created", "running", "stopped"]


def test_pid_file_and_ps_name_the_worlds_processes(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sh", "-c", "sleep 600 & sleep 600; true")
    pid_file = any_runtime.folder / "pid"
    any_runtime("create", "--bundle", bundle, "--pid-file", pid_file, "w").ok()
    pid = int(pid_file.read_text("ascii"))
    assert pid == calls.state(any_runtime, "w")["pid"]
    assert any_runtime("ps", "--format", "json", "w").ok().json() == [pid]
    any_runtime("start", "w").ok()
    calls.until(
        lambda: len(any_runtime("ps", "--format", "json", "w").ok().json()) == 3, "three processes"
    )
    assert "sleep 600" in any_runtime("ps", "w").ok().stdout
    assert "w" in any_runtime("list").ok().stdout.splitlines()[1].split()


def test_world_starts_only_once(any_runtime: Runtime) -> None:
    calls.create(any_runtime, "w", *SLEEP)
    any_runtime("start", "w").ok()
    again = any_runtime("start", "w")
    assert again.status == 1
    assert "cannot start a container that is running" in again.stderr
    assert calls.state(any_runtime, "w")["status"] == "running"


def test_running_world_is_deleted_only_by_force(any_runtime: Runtime) -> None:
    pid = calls.run_detached(any_runtime, "w", *SLEEP)["pid"]
    refused = any_runtime("delete", "w")
    assert refused.status == 1
    assert "not stopped" in refused.stderr
    assert calls.is_running(pid)
    any_runtime("delete", "--force", "w").ok()
    assert not calls.is_running(pid)
    assert any_runtime.worlds() == []


def test_created_world_can_be_deleted(any_runtime: Runtime) -> None:
    pid = calls.create(any_runtime, "w", *SLEEP)["pid"]
    any_runtime("delete", "w").ok()
    assert not calls.is_running(pid)


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "exec", "ps", "diff"])
def test_unknown_world_does_not_exist_for_any_verb(runtime: Runtime, verb: str) -> None:
    words = ["true"] if verb == "exec" else []
    done = runtime(verb, "nobody", *words)
    assert done.status == 1
    assert "container nobody does not exist" in done.stderr
    assert runtime("delete", "--force", "nobody").ok().stderr == ""


def test_id_in_use_is_refused_and_its_world_unharmed(any_runtime: Runtime) -> None:
    before = calls.create(any_runtime, "w", *SLEEP)
    for verb in ("create", "run"):
        done = any_runtime(verb, "--bundle", any_runtime.bundle("true"), "w")
        assert done.status == 1
        assert "already in use" in done.stderr
    assert calls.state(any_runtime, "w") == before


@pytest.mark.parametrize("word", ["TERM", "SIGTERM", "sigterm", "15"])
def test_signal_goes_by_name_and_number(runtime: Runtime, word: str) -> None:
    bundle = runtime.bundle("sh", "-c", ON_SIGNAL)
    process = calls.started(runtime, "run", "--bundle", bundle, "w")
    runtime("kill", "w", word).ok()
    assert calls.ended(process) == (9, b"TERM\n")
    assert runtime("kill", "w", word).status == 1


def test_unknown_signal_is_refused(runtime: Runtime) -> None:
    calls.run_detached(runtime, "w", *SLEEP)
    assert runtime("kill", "w", "SIGNONE").status == 2
    assert runtime("kill", "w", "99").status == 2
    assert calls.state(runtime, "w")["status"] == "running"


def test_stopped_world_cannot_be_signalled(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", "true")
    calls.until_stopped(any_runtime, "w")
    done = any_runtime("kill", "w")
    assert done.status == 1
    assert "container not running" in done.stderr
    any_runtime("kill", "--all", "w", "9").ok()


def test_kill_all_reaches_every_process(any_runtime: Runtime) -> None:
    child = "trap 'echo $n >> /tmp/got; exit' USR1; touch /tmp/$n; while :; do sleep 0.02; done"
    script = f"for n in 1 2 3; do ({child}) & done; trap '' USR1; "
    script += "until [ -e /tmp/1 -a -e /tmp/2 -a -e /tmp/3 ]; do sleep 0.02; done; "
    script += "echo ready; wait; sort /tmp/got"
    process = calls.started(any_runtime, "run", "-b", any_runtime.bundle("sh", "-c", script), "w")
    any_runtime("kill", "--all", "w", "USR1").ok()
    status, out = calls.ended(process)
    assert (status, out) == (0, b"1\n2\n3\n")


def test_world_without_a_pid_namespace_is_deleted_with_all_its_processes(runtime: Runtime) -> None:
    kinds = ("user", "mount", "network", "ipc", "uts", "cgroup")
    linux = {"namespaces": [{"type": kind} for kind in kinds]}
    # A new procfs would show the host's processes, which the kernel forbids without their
    # namespace.
    mounts = [
        mount for mount in default_config(runtime.rootfs)["mounts"] if mount["type"] != "proc"
    ]
    bundle = runtime.bundle("sh", "-c", "sleep 600 & wait", linux=linux, mounts=mounts)
    words = ("run", "--detach", "--bundle", bundle, "w")
    refused = runtime(*words)
    assert refused.status == 4
    assert "pid namespace" in refused.stderr
    runtime("--allow-degraded", "cgroup", *words).ok()
    listed = ("ps", "--format", "json", "w")
    calls.until(lambda: len(runtime(*listed).ok().json()) == 2, "two processes")
    pids = runtime(*listed).ok().json()
    runtime("delete", "--force", "w").ok()
    calls.until_gone(pids)


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 255"), 255),
        (("nothing-of-that-name",), 127),
        (("/bin/nothing",), 127),
        (("/etc/passwd",), 126),
        (("/etc",), 126),
    ],
)
def test_status_of_run_is_the_programs_own(
    any_runtime: Runtime, args: tuple[str, ...], status: int
) -> None:
    # Executable for everybody in the rootfs, but for passwd, which is shown without.
    passwd = any_runtime.folder / "passwd"
    passwd.write_text("no program\n", encoding="utf-8")
    passwd.chmod(0o644)
    mount = {"destination": "/etc/passwd", "source": str(passwd), "options": ["bind", "ro"]}
    bundle = any_runtime.bundle(*args)
    config = json.loads((bundle / "config.json").read_text("utf-8"))
    config["mounts"].append(mount)
    (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")
    done = any_runtime("run", "--bundle", bundle, "w")
    assert done.status == status, done
    assert any_runtime.worlds() == []


def test_status_of_run_is_128_and_the_signal(any_runtime: Runtime) -> None:
    # pid 1 ignores what it sends itself, so the signal comes from outside.
    bundle = any_runtime.bundle("sh", "-c", ON_SIGNAL)
    process = calls.started(any_runtime, "run", "-b", bundle, "w")
    any_runtime("kill", "w", "KILL").ok()
    assert calls.ended(process)[0] == 128 + signal.SIGKILL
    script = "sh -c 'kill -SEGV $$'; echo $?"
    assert calls.in_world(any_runtime, script).strip() == str(128 + signal.SIGSEGV)
    extension = {"init": True}
    bundle = any_runtime.bundle("sh", "-c", "kill -TERM $$", substrate=extension)
    assert any_runtime("run", "--bundle", bundle, "w").status == 128 + signal.SIGTERM


def test_kept_world_stays_stopped_with_its_id(any_runtime: Runtime) -> None:
    any_runtime("run", "--keep", "--bundle", any_runtime.bundle("true"), "w").ok()
    assert calls.state(any_runtime, "w")["status"] == "stopped"
    any_runtime("delete", "w").ok()


def test_world_without_pivot_root_still_shows_only_its_root(runtime: Runtime) -> None:
    bundle = runtime.bundle("ls", "/")
    done = runtime("run", "--no-pivot", "--bundle", bundle, "w").ok()
    assert set(done.stdout.split()) == {path.name for path in runtime.rootfs.iterdir()}


def test_failure_is_one_json_object_in_the_log_and_success_is_none(any_runtime: Runtime) -> None:
    log = any_runtime.folder / "log"
    logged = ("--log", log, "--log-format", "json")
    any_runtime(*logged, "run", "--bundle", any_runtime.bundle("true"), "w").ok()
    assert calls.text_of(log) == ""
    done = any_runtime(*logged, "run", "--bundle", any_runtime.bundle("missing-program"), "w")
    entry = json.loads(log.read_text("utf-8"))
    assert set(entry) == {"level", "msg", "time"}
    assert entry["level"] == "error"
    assert "executable file not found" in entry["msg"]
    assert entry["msg"] in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signal_to_run_reaches_the_program(any_runtime: Runtime, number: signal.Signals) -> None:
    bundle = any_runtime.bundle("sh", "-c", ON_SIGNAL)
    process = calls.started(any_runtime, "run", "-b", bundle, "w")
    process.send_signal(number)
    assert calls.ended(process) == (9, number.name.removeprefix("SIG").encode() + b"\n")


def test_init_reaps_orphans_and_forwards_signals(any_runtime: Runtime) -> None:
    orphans = "for n in $(seq 20); do (sleep 0 &); done; "
    for extension, init in (({"init": True}, 1), ({}, 0)):
        bundle = any_runtime.bundle("sh", "-c", orphans + ON_SIGNAL, substrate=extension)
        process = calls.started(any_runtime, "run", "--bundle", bundle, "w")
        if init:
            calls.until(lambda: "Z" not in _process_states(any_runtime, "w"), "no zombies")
        process.terminate()
        assert calls.ended(process) == (9, b"TERM\n")


def _process_states(runtime: Runtime, world: str) -> str:
    pids: list[int] = runtime("ps", "--format", "json", world).ok().json()
    stats = [calls.text_of(Path(f"/proc/{pid}/stat")) for pid in pids]
    return "".join(stat.rpartition(")")[2].split()[0] for stat in stats if stat)


def test_world_without_a_program_lives_on_a_tiny_init(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle(process=None, substrate={"init": True})
    any_runtime("create", "--bundle", bundle, "w").ok()
    any_runtime("start", "w").ok()
    command = ("exec", "w", "/bin/sh", "-c", "(sleep 0.05 &); exit 3")
    assert any_runtime(*command).status == 3
    calls.until(lambda: _process_states(any_runtime, "w") == "S", "only init, asleep")
    state = calls.state(any_runtime, "w")
    assert state["status"] == "running"
    status = Path(f"/proc/{state['pid']}/status").read_text("ascii")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) <= 1024
    assert os.listdir(f"/proc/{state['pid']}/fd") == []


@pytest.mark.parametrize("init", [True, False])
def test_no_python_stays_with_a_detached_world(any_runtime: Runtime, init: bool) -> None:
    before = set(_named("python"))
    calls.run_detached(any_runtime, "w", *SLEEP, substrate={"init": init})
    pids = any_runtime("ps", "--format", "json", "w").ok().json()
    programs = sorted(os.readlink(f"/proc/{pid}/exe") for pid in pids)
    assert programs == ["/bin/busybox", *(["/memfd:world-init (deleted)"] if init else [])]
    parent = calls.text_of(Path(f"/proc/{pids[0]}/stat")).rpartition(")")[2].split()[1]
    assert int(parent) not in set(_named("python")) - before


def _named(word: str) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if word in calls.text_of(Path(f"/proc/{pid}/comm"))]


def test_recycled_pid_is_never_touched(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", "true")
    calls.until_stopped(any_runtime, "w")
    stored = any_runtime.home / "state/w/state.json"
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            state = json.loads(stored.read_text("utf-8"))
            state["pid"] = other.pid
            stored.write_text(json.dumps(state), encoding="utf-8")
            assert calls.state(any_runtime, "w")["status"] == "stopped"
            for words in (("kill", "w", "9"), ("exec", "w", "true"), ("ps", "w")):
                assert any_runtime(*words).status == 1
            any_runtime("kill", "--all", "w", "9").ok()
            any_runtime("delete", "--force", "w").ok()
            assert other.poll() is None
        finally:
            other.kill()


def _call(runtime: Runtime, *words: str | Path) -> tuple[int, str]:
    argv, environment = calls.bare(runtime)
    done = subprocess.run(
        [*argv, *words],
        env=environment,
        cwd=runtime.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE if words[0] != "create" else subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr or ""


def _whole_life(runtime: Runtime, bundle: Path, world: str) -> None:
    for words in (("create", "-b", bundle, world), ("start", world), ("delete", "-f", world)):
        status, text = _call(runtime, *words)
        assert status == 0, (words, text)


@pytest.mark.parametrize(("count", "at_once"), [(100, 1), (50, 50)])
def test_hundreds_of_worlds_leave_nothing(runtime: Runtime, count: int, at_once: int) -> None:
    bundle = runtime.bundle(*SLEEP)
    with ThreadPoolExecutor(at_once) as pool:
        lives = [pool.submit(_whole_life, runtime, bundle, f"w{n}") for n in range(count)]
        for life in lives:
            life.result()
    assert runtime.worlds() == []
    assert [path for kept in ("state", "data") for path in (runtime.home / kept).rglob("*")] == []


def test_of_many_creations_with_one_id_one_wins(runtime: Runtime) -> None:
    bundle = runtime.bundle(*SLEEP)
    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(
            pool.map(lambda _: _call(runtime, "create", "-b", bundle, "w")[0], range(20))
        )
    assert statuses == [0] + [1] * 19
    assert calls.state(runtime, "w")["status"] == "created"


@pytest.mark.parametrize("force", [True, False])
def test_of_many_deletions_of_one_world_one_succeeds(runtime: Runtime, force: bool) -> None:
    calls.create(runtime, "w", *SLEEP)
    words = ["delete", *(["--force"] if force else []), "w"]
    with ThreadPoolExecutor(20) as pool:
        ends = list(pool.map(lambda _: _call(runtime, *words), range(20)))
    statuses = sorted(status for status, _ in ends)
    assert statuses == ([0] * 20 if force else [0] + [1] * 19), ends
    assert runtime.worlds() == []


def test_verbs_that_race_on_one_world_end_in_order(runtime: Runtime) -> None:
    bundle = runtime.bundle(*SLEEP)
    verbs: list[tuple[str | Path, ...]] = [
        ("create", "-b", bundle, "w"), ("start", "w"), ("state", "w"), ("kill", "w", "9"),
        ("delete", "w"), ("delete", "--force", "w"), ("exec", "w", "true"), ("list",),
    ]  # fmt: skip
    with ThreadPoolExecutor(24) as pool:
        ends = list(pool.map(lambda words: _call(runtime, *words), verbs * 6))
    assert {status for status, _ in ends} <= {0, 1, 128 + signal.SIGKILL}
    assert not [text for _, text in ends if "internal error" in text or "Traceback" in text]
    runtime("delete", "--force", "w").ok()
    assert runtime.worlds() == []


def test_deletion_that_comes_late_spares_the_next_world_of_that_id(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.create(runtime, "w", *SLEEP)
    wait = World.lock

    def lock_late(world: World, timeout_s: float = 30) -> None:
        monkeypatch.setattr(World, "lock", wait)
        runtime("delete", "--force", "w").ok()
        # Claimed by `create` and not yet written: an empty directory, and data beside it.
        (runtime.home / "state/w").mkdir(mode=0o700)
        (runtime.home / "data/w").mkdir(mode=0o700, parents=True)
        wait(world, timeout_s)

    monkeypatch.setattr(World, "lock", lock_late)
    home = runtime.home
    context = Context(str(home / "state"), str(home / "data"), str(home / "cache"))
    with pytest.raises(WorldNotFoundError):
        delete(context, "w", print)
    assert (home / "state/w").exists()
    assert (home / "data/w").exists()
    runtime("delete", "--force", "w").ok()


KILLED: dict[str, tuple[tuple[str, ...], int]] = {
    "create": (("create", "-b", "BUNDLE", "w"), 40),
    "start": (("start", "w"), 20),
    "run": (("run", "-b", "BUNDLE", "w"), 40),
    "exec": (("exec", "w", "true"), 15),
    "delete": (("delete", "--force", "w"), 25),
}


@requires("strace", "overlayfs.idmapped")
@pytest.mark.parametrize("verb", KILLED)
def test_runtime_killed_at_any_step_leaves_a_world_that_can_be_deleted(
    runtime: Runtime, verb: str
) -> None:
    template, samples = KILLED[verb]
    project = calls.public_directory(runtime, "project")
    extension = {"project": {"path": str(project), "at": "/work"}}
    args = ("true",) if verb == "run" else SLEEP
    bundle = runtime.bundle(*args, substrate=extension)
    words = [str(bundle) if word == "BUNDLE" else word for word in template]

    def prepare() -> None:
        if verb in ("start", "exec", "delete"):
            assert _call(runtime, "create", "-b", bundle, "w")[0] == 0
        if verb == "exec":
            assert _call(runtime, "start", "w")[0] == 0

    prepare()
    steps = injection.steps_of(runtime, runtime.folder / "trace", *words)
    assert _call(runtime, "delete", "--force", "w")[0] == 0
    # Every call when there are few, else some of each part.
    for step in [*steps[:: max(1, len(steps) // samples)], steps[-1]]:
        prepare()
        status = injection.traced(runtime, runtime.folder / "trace", step, *words)
        assert status in (-signal.SIGKILL, 0), step
        pids = _recorded_pids(runtime)
        deleted = _call(runtime, "delete", "--force", "w")
        assert deleted[0] == 0, f"killed at call {step} of {verb}: {deleted[1]}"
        left = [path for kept in ("state", "data") for path in (runtime.home / kept).rglob("*")]
        assert left == [], f"killed at call {step} of {verb}"
        calls.until_gone(pids)


def _recorded_pids(runtime: Runtime) -> list[int]:
    text = calls.text_of(runtime.home / "state/w/state.json")
    pid = json.loads(text)["pid"] if text else 0
    return [pid] if pid else []
