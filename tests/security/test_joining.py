"""A process of the runtime in a world is nobody's prey: neither what `exec` brings in, nor pid 1.

The attackers are programs of a payload that has the same user as these processes.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.attack import ATTACK, DEFAULT_FILTER, image_mounts
from tests.support.calls import bare, begin
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.attack import Place
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK)

EXECS = 12
EXECUTORS = ("native", "python")
# Runs a command with a session keyring of its own, in which there is a key.
_WITH_A_KEY = """
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
assert call(250, 1, 0) > 0
assert call(248, b"user", b"substrate-attack", b"x", 1, -3) > 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_lurking_payload_gets_hold_of_no_joining_process(place: Place, executor: str) -> None:
    runtime = place.runtime
    command = ("sh", "-c", "exec ./lurker 1 /tmp/stop")
    words = ("run", *place.words(), "--executor", executor, "w", *command)
    lurker = begin(runtime, *words, stderr=subprocess.DEVNULL)
    try:
        with lurker.stdout or open(os.devnull, "rb") as output:
            assert output.readline() == b"lurking\n"
            for number in range(EXECS):
                call = ("exec", "--executor", executor, "w", "sh", "-c", f"exit {number}")
                result = runtime(*call, timeout_s=20)
                assert result.status == number, result
            # May be killed itself, when the lurker, pid 1, ends at once.
            runtime("exec", "w", "touch", "/tmp/stop")
            *got, seen = output.read().decode().splitlines()
    finally:
        # A failure must not leave it lurking, and us waiting for it.
        runtime("kill", "w", "KILL")
        lurker.wait(timeout=30)
    assert got == []
    # Positive control: it saw some of them come.
    assert int(seen.split()[1]) > 0, seen


def test_pid_1_of_the_runtime_cannot_be_made_to_work(place: Place) -> None:
    # In a rootless world it can be traced, or the runtime could not enter by it; all the same it
    # makes no calls but those of reaping.
    for executor in EXECUTORS:
        words = ("run", *place.words(**_with_init(place)), "--executor", executor, "w")
        output = place.runtime(*words, "sh", "-c", "./possess 1; echo alive").ok().stdout
        assert output.splitlines() in (["seize EPERM", "alive"], ["unshare -1", "alive"]), output


def test_pid_1_of_the_runtime_survives_every_signal_from_inside(place: Place) -> None:
    script = "kill -9 1; kill -STOP 1; (setsid sh -c 'kill -9 1'); echo alive; exit 7"
    words = ("run", *place.words(**_with_init(place)), "w", "sh", "-c", script)
    result = place.runtime(*words)
    assert (result.status, result.stdout) == (7, "alive\n"), result


def test_killing_everybody_ends_one_s_own_world_only(place: Place) -> None:
    other = place.runtime.bundle("sleep", "60")
    place.runtime("run", "--detach", "--bundle", other, "bystander").ok()
    words = ("run", *place.words(**_with_init(place)), "w", "sh", "-c", "kill -9 -1; echo alive")
    result = place.runtime(*words)
    assert (result.status, result.stdout) == (0, "alive\n"), result
    assert place.runtime("state", "bystander").ok().json()["status"] == "running"


def test_the_caller_s_environment_is_not_in_the_world(place: Place) -> None:
    told = "do-not-tell-anybody"
    script = "cat /proc/[0-9]*/environ | tr '\\0' '\\n'; env; cat /proc/[0-9]*/cmdline; echo $SHOWN"
    words = ("run", *place.words(**_with_init(place)), "--env", "SHOWN=by choice", "w")
    for executor in EXECUTORS:
        result = place.runtime(
            *words[:1], "--executor", executor, *words[1:], "sh", "-c", script,
            env={"CALLER_SECRET": told},
        )  # fmt: skip
        assert told not in result.stdout + result.stderr
        assert result.stdout.endswith("by choice\n")


def test_the_session_keyring_is_not_the_caller_s(place: Place) -> None:
    # Without the filter, which would hide it: the key is simply not there.
    unconfined: dict[str, Any] = {"substrate": {"seccomp": {"profile": "unconfined"}}}
    search = "search 64 250 10 -3 @user @substrate-attack 0\nring 64 250 0 -3 1\n"
    words = ["run", *place.words(**unconfined), "w", "./attempt"]
    argv, environment = bare(place.runtime)
    command = [*argv[:-1], "/usr/bin/python3", "-c", _WITH_A_KEY]
    outcomes: list[str] = []
    for program in ([argv[-1], *map(str, words)], [str(place.project / "attempt")]):
        done = subprocess.run(
            [*command, *program], input=search, env=environment, cwd=place.runtime.folder,
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        outcomes.append(done.stdout)
    # The second is the positive control: without a world the key is found.
    assert outcomes == ["search 126\nring 0\n", "search 0\nring 0\n"]


def test_what_waits_at_the_gate_cannot_be_traced_from_its_pod(
    rootless_runtime: Runtime, programs: Path
) -> None:
    # A second world in the user and pid namespaces of the first waits for its engine as long as
    # that likes: without capabilities, and not yet under its filter.
    runtime = rootless_runtime
    tools = image_mounts(programs, "/work")
    first = runtime.bundle("sleep", "100", substrate=DEFAULT_FILTER, mounts=tools)
    runtime("run", "--detach", "--bundle", first, "w1").ok()
    pid = runtime("state", "w1").json()["pid"]
    namespaces: list[dict[str, str]] = [{"type": kind} for kind in ("mount", "ipc", "uts")]
    namespaces += [{"type": kind, "path": f"/proc/{pid}/ns/{kind}"} for kind in ("user", "pid")]
    linux = {"namespaces": namespaces, "uidMappings": None, "gidMappings": None}
    second = runtime.bundle("sleep", "100", substrate=DEFAULT_FILTER, linux=linux)
    runtime("--allow-degraded", "cgroup", "create", "--bundle", second, "w2").ok()
    waiting = os.readlink(f"/proc/{runtime('state', 'w2').json()['pid']}/exe")
    assert "world-init" in waiting
    listed = runtime("exec", "w1", "sh", "-c", "grep -l world-init /proc/[0-9]*/cmdline").stdout
    gate = listed.split("/")[2]
    assert runtime("exec", "w1", "/work/possess", gate).ok().stdout == "seize EPERM\n"
    # Positive control: a sleeping process of its own it may possess, under its own filter.
    assert runtime("exec", "w1", "/work/possess", "1").ok().stdout == "unshare -1\n"
    runtime("start", "w2").ok()


def _with_init(place: Place) -> dict[str, Any]:
    filtered = {} if place.is_host_view else DEFAULT_FILTER
    return {"substrate": {**filtered, "init": True}}
