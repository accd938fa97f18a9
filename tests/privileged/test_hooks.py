"""Hooks of the OCI lifecycle: when each runs, where, what it reads, and what its failure does."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema
import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.runtime import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)

SLEEP = ("sleep", "600")
PHASES = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
AT_CREATION = PHASES[:3]
LOG_OF_THE_WORLD = "/tmp/log"


class Entry(NamedTuple):
    """What a hook wrote: its name, its mount and pid namespaces, the state it was given."""

    name: str
    mount_namespace: str
    pid_namespace: str
    state: Any


def recording(name: str, log: str | Path) -> dict[str, Any]:
    """Return a hook that writes an `Entry` to a file."""
    script = (
        "state=$(cat); mnt=$(readlink /proc/self/ns/mnt); pid=$(readlink /proc/self/ns/pid); "
        f'printf \'%s\\t%s\\t%s\\t%s\\n\' "$NAME" "$mnt" "$pid" "$state" >> {log}'
    )
    return shell(script, env=[f"NAME={name}", "PATH=/usr/bin:/bin"])


def shell(script: str, **more: Any) -> dict[str, Any]:
    """Return a hook that runs a shell script."""
    return {"path": "/bin/sh", "args": ["sh", "-c", script]} | more


def entries(text: str) -> list[Entry]:
    """Return what recording hooks wrote."""
    fields = (line.split("\t") for line in text.splitlines())
    return [Entry(name, mnt, pid, json.loads(state)) for name, mnt, pid, state in fields]


def hook_log(runtime: Runtime) -> Path:
    """Make a file that hooks can append to, whoever they are."""
    path = runtime.folder / "hooks.log"
    path.touch()
    os.chown(path, runtime.uid, runtime.gid)
    return path


def recording_everywhere(runtime: Runtime) -> tuple[dict[str, Any], Path]:
    """Return two recording hooks of every phase, and the host's log."""
    log = hook_log(runtime)
    return {
        phase: [
            recording(f"{phase}{number}", LOG_OF_THE_WORLD if phase == "startContainer" else log)
            for number in (1, 2)
        ]
        for phase in PHASES
    }, log


def test_hooks_run_in_order_each_in_its_namespaces(any_runtime: Runtime) -> None:
    hooks, log = recording_everywhere(any_runtime)
    world = calls.create(any_runtime, "w", "sh", "-c", f"cat {LOG_OF_THE_WORLD}; exec sleep 600",
                         hooks=hooks)  # fmt: skip
    inside = {kind: os.readlink(f"/proc/{world['pid']}/ns/{kind}") for kind in ("mnt", "pid")}
    outside = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid")}
    created = entries(log.read_text("utf-8"))
    names = [f"{phase}{number}" for phase in AT_CREATION for number in (1, 2)]
    assert [entry.name for entry in created] == names
    any_runtime("start", "w").ok()
    first = entries(any_runtime("exec", "w", "cat", LOG_OF_THE_WORLD).ok().stdout)
    assert [entry.name for entry in first] == ["startContainer1", "startContainer2"]
    any_runtime("delete", "--force", "w").ok()
    later = entries(log.read_text("utf-8"))[6:]
    assert [entry.name for entry in later] == ["poststart1", "poststart2", "poststop1", "poststop2"]
    for entry in [*created, *first, *later]:
        expected = inside if "Container" in entry.name else outside
        assert (entry.mount_namespace, entry.pid_namespace) == (expected["mnt"], expected["pid"])


def test_hooks_read_the_state_with_the_status_of_their_time(any_runtime: Runtime) -> None:
    hooks, log = recording_everywhere(any_runtime)
    notes = {"org.example.note": "read me"}
    created = calls.create(any_runtime, "w", *SLEEP, hooks=hooks, annotations=notes)
    any_runtime("start", "w").ok()
    inside = entries(any_runtime("exec", "w", "cat", LOG_OF_THE_WORLD).ok().stdout)
    any_runtime("delete", "--force", "w").ok()
    found = [*entries(log.read_text("utf-8")), *inside]
    statuses = {entry.name[:-1]: entry.state["status"] for entry in found}
    assert statuses == {
        "prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
        "startContainer": "created", "poststart": "running", "poststop": "stopped",
    }  # fmt: skip
    schema = json.loads((ROOT / "schemas/state.schema.json").read_text("utf-8"))
    for entry in found:
        jsonschema.Draft202012Validator(schema).validate(entry.state)
        assert entry.state["id"] == "w"
        assert entry.state["bundle"] == created["bundle"]
        assert entry.state["annotations"] == notes
        alive = not entry.name.startswith("poststop")
        assert entry.state["pid"] == (created["pid"] if alive else 0)


def test_run_runs_every_hook(any_runtime: Runtime) -> None:
    hooks, log = recording_everywhere(any_runtime)
    bundle = any_runtime.bundle("cat", LOG_OF_THE_WORLD, hooks=hooks)
    done = any_runtime("run", "--bundle", bundle, "w").ok()
    assert [entry.name[:-1] for entry in entries(done.stdout)] == ["startContainer"] * 2
    outside = [entry.name[:-1] for entry in entries(log.read_text("utf-8"))]
    assert outside[::2] == outside[1::2] == [*AT_CREATION, "poststart", "poststop"]


def test_creation_hooks_find_the_mounts_made_and_the_hosts_files(any_runtime: Runtime) -> None:
    log = hook_log(any_runtime)
    script = f"cut -d ' ' -f 5 /proc/self/mountinfo >> {log}; test -f {log}"
    calls.create(any_runtime, "w", *SLEEP, hooks={"createContainer": [shell(script)]})
    assert "/" in log.read_text("utf-8").split()


def test_hook_gets_its_own_arguments_and_environment_and_nothing_else(
    any_runtime: Runtime,
) -> None:
    log = hook_log(any_runtime)
    for phase in (*AT_CREATION, "poststart", "poststop"):
        log.write_text("", encoding="utf-8")
        hook = {
            "path": "/usr/bin/env",
            "args": ["named", "sh", "-c", f'echo "$0 $1 $(env | sort | tr "\\n" " ")" >> {log}',
                     "zero", "one"],
            "env": ["A=1", "PATH=/bin"],
        }  # fmt: skip
        bundle = any_runtime.bundle("true", hooks={phase: [hook]})
        any_runtime("run", "--bundle", bundle, "w", env={"LEAK": "1"}).ok()
        words = log.read_text("utf-8").split()
        assert words[:2] == ["zero", "one"], phase
        own = {word for word in words[2:] if not word.startswith(("PWD=", "_=", "SHLVL="))}
        assert own == {"A=1", "PATH=/bin"}, phase


def test_start_hook_has_no_more_rights_than_the_payload(any_runtime: Runtime) -> None:
    script = f"grep -E 'Cap|NoNew|Seccomp' /proc/self/status > {LOG_OF_THE_WORLD}"
    linux = {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}
    hooks = {"startContainer": [shell(script, env=["PATH=/bin"])]}
    show = f"cat {LOG_OF_THE_WORLD}; grep -E 'Cap|NoNew|Seccomp' /proc/self/status"
    lines = calls.in_world(any_runtime, show, linux=linux, hooks=hooks).splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert "Seccomp:\t2" in lines
    assert "CapEff:\t" + "0" * 16 in lines


@pytest.mark.parametrize("phase", AT_CREATION)
def test_failure_of_a_creation_hook_takes_the_world_back(any_runtime: Runtime, phase: str) -> None:
    log = hook_log(any_runtime)
    failing = shell(f"cat > /dev/null; echo {phase} >> {log}; echo why it failed >&2; exit 3")
    hooks = {phase: [failing, recording("after", log)], "poststart": [recording("late", log)]}
    bundle = any_runtime.bundle(*SLEEP, hooks=hooks)
    for verb in ("create", "run"):
        log.write_text("", encoding="utf-8")
        done = any_runtime(verb, "--bundle", bundle, "w")
        assert done.status == 1
        assert f"the {phase} hook /bin/sh failed: exit status 3" in done.stderr
        assert log.read_text("utf-8") == f"{phase}\n"
        assert any_runtime.worlds() == []


def test_failure_of_a_start_hook_stops_the_world(any_runtime: Runtime) -> None:
    hooks = {"startContainer": [shell("exit 4")]}
    bundle = any_runtime.bundle("echo", "ran", hooks=hooks)
    created = any_runtime("create", "--bundle", bundle, "w").ok()
    done = any_runtime("start", "w")
    assert done.status == 1
    assert "the startContainer hook /bin/sh failed: exit status 4" in done.stderr
    calls.until_stopped(any_runtime, "w")
    assert created.stdout_later() == ""
    any_runtime("delete", "w").ok()
    done = any_runtime("run", "--bundle", bundle, "w")
    assert (done.status, done.stdout) == (1, "")
    assert any_runtime.worlds() == []


@pytest.mark.parametrize("phase", ["poststart", "poststop"])
def test_failure_of_a_late_hook_is_a_warning_and_the_others_run(
    any_runtime: Runtime, phase: str
) -> None:
    # OCI runtime-spec, "Lifecycle", 9 and 13.
    log = hook_log(any_runtime)
    hooks = {phase: [shell("exit 5"), recording("after", log)]}
    bundle = any_runtime.bundle("echo", "ran", hooks=hooks)
    done = any_runtime("run", "--bundle", bundle, "w").ok()
    assert done.stdout == "ran\n"
    assert f"warning: the {phase} hook /bin/sh failed: exit status 5" in done.stderr
    assert [entry.name for entry in entries(log.read_text("utf-8"))] == ["after"]
    assert any_runtime.worlds() == []


@pytest.mark.parametrize("phase", ["createRuntime", "createContainer", "startContainer"])
@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600; true"])
def test_hook_that_takes_too_long_is_ended(any_runtime: Runtime, phase: str, script: str) -> None:
    hooks = {phase: [shell(script, timeout=1, env=["PATH=/usr/bin:/bin"])]}
    bundle = any_runtime.bundle("true", hooks=hooks)
    started = time.monotonic()
    done = any_runtime("run", "--bundle", bundle, "w", timeout_s=20)
    assert done.status == 1
    assert f"the {phase} hook /bin/sh failed: still running after 1 s" in done.stderr
    assert time.monotonic() - started < 15
    assert any_runtime.worlds() == []


@pytest.mark.parametrize("phase", PHASES[:4])
def test_hook_that_is_no_program_fails(any_runtime: Runtime, phase: str) -> None:
    bundle = any_runtime.bundle("true", hooks={phase: [{"path": "/no/such/hook"}]})
    done = any_runtime("run", "--bundle", bundle, "w")
    assert done.status == 1
    assert f"the {phase} hook /no/such/hook failed" in done.stderr
    assert any_runtime.worlds() == []


@pytest.mark.parametrize("phase", PHASES)
def test_hook_that_reads_nothing_holds_nobody_up(any_runtime: Runtime, phase: str) -> None:
    long = {f"org.example.n{number}": "x" * 1000 for number in range(200)}
    hooks = {phase: [{"path": "/bin/true"}]}
    bundle = any_runtime.bundle("true", hooks=hooks, annotations=long)
    assert any_runtime("run", "--bundle", bundle, "w", timeout_s=20).ok().stderr == ""
