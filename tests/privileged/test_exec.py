"""Further processes in a world, and what reaches any process of it: streams, descriptors, ids."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)

SLEEP = ("sleep", "600")
VERBS = pytest.mark.parametrize("verb", ["run", "exec"])


def command(runtime: Runtime, verb: str, *args: str, options: tuple[Any, ...] = ()) -> list[Any]:
    """Return the words that run `args` as a world's first process, or as a further one."""
    if verb == "run":
        return ["run", *options, "--bundle", runtime.bundle("true"), "w", *args]
    calls.run_detached(runtime, "w", *SLEEP)
    return ["exec", *options, "w", *args]


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("nothing-of-that-name",), 127),
        (("/bin/nothing",), 127),
        (("/etc",), 126),
    ],
)
def test_status_of_exec_is_the_programs_own(
    any_runtime: Runtime, args: tuple[str, ...], status: int
) -> None:
    assert any_runtime(*command(any_runtime, "exec", *args)).status == status
    assert calls.state(any_runtime, "w")["status"] == "running"


def test_process_can_be_run_in_a_created_world(any_runtime: Runtime) -> None:
    calls.create(any_runtime, "w", *SLEEP)
    assert any_runtime("exec", "w", "echo", "early").ok().stdout == "early\n"
    assert calls.state(any_runtime, "w")["status"] == "created"


def test_nothing_can_be_run_in_a_stopped_world(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", "true")
    calls.until_stopped(any_runtime, "w")
    done = any_runtime("exec", "w", "true")
    assert done.status == 1
    assert "container not running" in done.stderr


def test_further_process_is_as_confined_as_the_first(any_runtime: Runtime) -> None:
    names = ("Cap", "NoNewPrivs", "Seccomp", "SigIgn", "SigBlk", "Uid", "Gid", "Groups")
    script = f"grep -E '^({'|'.join(names)})' /proc/self/status; "
    script += "for link in /proc/self/ns/*; do readlink $link; done"
    linux = {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}
    bundle = any_runtime.bundle("sh", "-c", f"{script}; exec sleep 600", linux=linux)
    first = any_runtime("run", "--detach", "--bundle", bundle, "w").ok()
    calls.until(lambda: first.stdout_later().count("uts:") == 1, "output of the first")
    assert any_runtime("exec", "w", "sh", "-c", script).ok().stdout == first.stdout_later()


@VERBS
def test_binary_data_passes_through_unchanged(any_runtime: Runtime, verb: str) -> None:
    data = bytes(range(256)) * 4096
    with calls.begin(any_runtime, *command(any_runtime, verb, "cat"), stdin=subprocess.PIPE) as run:
        out, err = run.communicate(data, timeout=30)
    assert run.returncode == 0, err
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


@VERBS
def test_output_and_errors_stay_apart(any_runtime: Runtime, verb: str) -> None:
    script = "echo out; echo err >&2; cat"
    done = any_runtime(*command(any_runtime, verb, "sh", "-c", script), stdin="in\n").ok()
    assert (done.stdout, done.stderr) == ("out\nin\n", "err\n")


@VERBS
def test_closed_input_is_no_descriptor_of_ours(any_runtime: Runtime, verb: str) -> None:
    script = "readlink /proc/self/fd/0; readlink /proc/self/fd/1; cat; echo done"
    words = command(any_runtime, verb, "sh", "-c", script)
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", *any_runtime.argv, *map(str, words)]
    done = subprocess.run(
        argv,
        env=any_runtime.environment,
        cwd=any_runtime.folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=30,
    )
    first, second, last = done.stdout.splitlines()
    assert first.startswith(("/dev/null", "/null"))
    assert second.startswith("pipe:")
    assert last == "done"


@VERBS
def test_descriptors_are_preserved_on_demand_and_no_others(any_runtime: Runtime, verb: str) -> None:
    options = ("--preserve-fds", "2")
    script = "cat <&3; cat <&4; ls /proc/self/fd"
    words = command(any_runtime, verb, "sh", "-c", script, options=options)
    setup = 'exec 3<<<three 4<<<four 5</dev/null 9</root; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", setup, "bash", *any_runtime.argv, *map(str, words)],
        env=any_runtime.environment,
        cwd=any_runtime.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    # 5 is the directory that ls reads.
    assert done.stdout.split() == ["three", "four", "0", "1", "2", "3", "4", "5"]


@VERBS
def test_environment_and_directory_can_be_given(any_runtime: Runtime, verb: str) -> None:
    options = ("--env", "A=1", "--env", "PATH=/bin", "--cwd", "/var")
    script = 'echo "$A $PATH $TERM"; pwd'
    done = any_runtime(*command(any_runtime, verb, "sh", "-c", script, options=options)).ok()
    assert done.stdout == "1 /bin xterm\n/var\n"


@VERBS
@pytest.mark.parametrize(
    ("option", "value"), [("--env", "novalue"), ("--cwd", "relative"), ("--cap", "CAP_NONE")]
)
def test_option_that_makes_no_sense_is_a_usage_error(
    runtime: Runtime, verb: str, option: str, value: str
) -> None:
    done = runtime(*command(runtime, verb, "true", options=(option, value)))
    assert done.status == 2
    assert value in done.stderr


@VERBS
def test_user_and_group_can_be_given(runtime: Runtime, verb: str) -> None:
    options = ("--user", "12:34")
    done = runtime(*command(runtime, verb, "sh", "-c", "id -u; id -g; id -G", options=options))
    assert done.ok().stdout.split() == ["12", "34", "34"]


@VERBS
@pytest.mark.parametrize("user", ["root", "1:x", "-1", "1:2:3", "4294967295"])
def test_user_that_is_no_pair_of_numbers_is_refused(runtime: Runtime, verb: str, user: str) -> None:
    done = runtime(*command(runtime, verb, "true", options=("--user", user)))
    assert done.status == 2, done


@VERBS
def test_user_the_world_does_not_know_is_refused(any_runtime: Runtime, verb: str) -> None:
    done = any_runtime(*command(any_runtime, verb, "true", options=("--user", "70000")))
    assert done.status == 1
    assert "become uid 70000" in done.stderr
    assert "linux.uidMappings" in done.stderr


def test_supplementary_groups_can_be_added(runtime: Runtime) -> None:
    calls.run_detached(runtime, "w", *SLEEP)
    words = ("exec", "--user", "5:6", "-g", "7", "-g", "8", "w", "id", "-G")
    assert runtime(*words).ok().stdout.split() == ["6", "7", "8"]


@VERBS
def test_capability_is_added_and_never_inheritable(any_runtime: Runtime, verb: str) -> None:
    script = "grep Cap /proc/self/status; chown 0:0 /tmp && hostname other && hostname"
    options = ("--cap", "CAP_SYS_ADMIN")
    out = any_runtime(*command(any_runtime, verb, "sh", "-c", script, options=options)).ok().stdout
    fields = dict(line.split(":\t") for line in out.splitlines()[:5])
    admin = f"{1 << 21:016x}"
    assert fields == {
        "CapInh": "0" * 16, "CapPrm": admin, "CapEff": admin, "CapBnd": admin, "CapAmb": "0" * 16,
    }  # fmt: skip
    assert out.splitlines()[5:] == ["other"]


def test_process_file_describes_the_whole_process(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", *SLEEP)
    script = 'echo "$ONLY $PATH"; pwd; umask; ulimit -n'
    process = {
        "args": ["sh", "-c", f"{script}; grep CapBnd /proc/self/status"],
        "env": ["ONLY=this", "PATH=/bin"],
        "cwd": "/var",
        "user": {"uid": 0, "gid": 0, "umask": 0o77},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
        "noNewPrivileges": True,
    }  # fmt: skip
    path = process_file(any_runtime, process)
    done = any_runtime("exec", "--process", path, "w").ok()
    assert done.stdout.splitlines() == [
        "this /bin", "/var", "0077", "50", "CapBnd:\t" + "0" * 16,
    ]  # fmt: skip


def process_file(runtime: Runtime, process: Any) -> Path:
    """Write a file for `exec --process` that the runtime's user can read."""
    path = runtime.folder / "process.json"
    path.write_text(json.dumps(process), encoding="utf-8")
    path.chmod(0o644)
    return path


def test_wrong_process_file_is_refused_with_the_path_of_the_fault(runtime: Runtime) -> None:
    calls.run_detached(runtime, "w", *SLEEP)
    path = process_file(runtime, {"args": "sh", "cwd": "/"})
    done = runtime("exec", "--process", path, "w")
    assert done.status == 2
    assert "$.args" in done.stderr


def test_detached_process_is_named_by_its_pid_file(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", *SLEEP)
    pid_file = any_runtime.folder / "pid"
    words = ("exec", "--detach", "--pid-file", pid_file, "w", "sleep", "601")
    any_runtime(*words).ok()
    pid = int(pid_file.read_text("ascii"))
    assert calls.text_of_command(pid) == ["sleep", "601"]
    assert pid in any_runtime("ps", "--format", "json", "w").ok().json()
    any_runtime("delete", "--force", "w").ok()
    calls.until_gone([pid])


def test_failed_exec_writes_one_json_object(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", *SLEEP)
    log = any_runtime.folder / "log"
    logged = ("--log", log, "--log-format", "json", "exec", "w")
    any_runtime(*logged, "true").ok()
    assert calls.text_of(log) == ""
    assert any_runtime(*logged, "missing").status == 127
    assert "executable file not found" in json.loads(log.read_text("utf-8"))["msg"]


def test_signal_to_exec_reaches_its_process(any_runtime: Runtime) -> None:
    script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.02; done"
    words = command(any_runtime, "exec", "sh", "-c", script)
    with calls.begin(any_runtime, *words) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (5, b"got\n")
    assert calls.state(any_runtime, "w")["status"] == "running"


def test_world_outlives_its_further_processes_and_they_end_with_it(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", *SLEEP)
    any_runtime("exec", "w", "sh", "-c", "exit 0").ok()
    with calls.begin(any_runtime, "exec", "w", "sh", "-c", "echo up; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        any_runtime("kill", "w", "KILL").ok()
        assert process.wait(timeout=20) == 128 + signal.SIGKILL
    calls.until_stopped(any_runtime, "w")


def test_joining_process_cannot_be_traced_by_the_world(any_runtime: Runtime) -> None:
    # Whoever joins is not dumpable until execve: the world cannot follow it to the host's files.
    watch = """
        while :; do
            for link in /proc/[2-9]*/exe /proc/[0-9][0-9]*/fd/*; do readlink $link; done
        done
    """
    bundle = any_runtime.bundle("sh", "-c", watch)
    world = any_runtime("run", "--detach", "--bundle", bundle, "w").ok()
    for _ in range(15):
        any_runtime("exec", "w", "true").ok()
    # Its own readlink processes prove that watching works; on a busy machine it takes a while.
    deadline = time.monotonic() + 20
    while "/bin/busybox" not in (seen := set(world.stdout_later().split())):
        assert time.monotonic() < deadline
        any_runtime("exec", "w", "true").ok()
    assert not [path for path in seen if "memfd" in path or "python" in path or "/home/" in path]
    assert not [path for path in seen if path.startswith(str(any_runtime.home))]


def test_many_processes_run_at_once(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", *SLEEP)
    words = [("exec", "w", "sh", "-c", f"echo {number}; exit {number}") for number in range(12)]
    started = [calls.begin(any_runtime, *call) for call in words]
    for number, process in enumerate(started):
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (number, f"{number}\n".encode(), b"")
    assert len(os.listdir(f"/proc/{calls.state(any_runtime, 'w')['pid']}/task")) == 1
