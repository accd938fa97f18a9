"""Both executors of a plan, native and Python: the same plan, the same world, the same errors."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import SubstrateError
from substrate.isolation import conversation
from substrate.isolation.steps.process import GATE_DESCRIPTION as AT_GATE
from substrate.world.context import Context
from substrate.world.create import CreateRequest, create
from substrate.world.delete import delete
from substrate.world.start import start
from substrate.world.store import World, list_ids
from tests.support import calls, injection
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from substrate.kernel.plan import Plan
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED)

EXECUTORS = ("native", "python")
BOTH = pytest.mark.parametrize("executor", EXECUTORS)
FACTS = """
    grep -E '^(Name|Uid|Gid|Groups|Sig|Cap|NoNew|Seccomp)' /proc/self/status
    cut -d ' ' -f 4- /proc/self/mountinfo | sed 's/:[0-9]* / /; s/fd\\/[0-9]*/fd/g'
    cat /proc/self/limits /proc/self/uid_map /proc/self/oom_score_adj; env | sort; umask; pwd
    hostname; ls /proc/self/fd; ls -ln /dev; cat /proc/net/dev
"""


def facts(runtime: Runtime, executor: str, bundle: Path) -> str:
    """Return everything a shell can learn of its world."""
    words = ("run", "--executor", executor, "--bundle", bundle, "w", "sh", "-c", FACTS)
    return runtime(*words).ok().stdout


def rich(runtime: Runtime) -> Path:
    """Write a bundle that uses many steps."""
    return runtime.bundle(
        process={
            "user": {"uid": 0, "gid": 0, "umask": 0o27},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
            "oomScoreAdj": 100,
        },
        domainname="far.example",
        linux={
            "sysctl": {"kernel.msgmax": "4096"},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        },
    )


def test_world_is_the_same_whoever_made_it(any_runtime: Runtime) -> None:
    bundle = rich(any_runtime)
    native, python = (facts(any_runtime, executor, bundle) for executor in EXECUTORS)
    assert native.splitlines() == python.splitlines()
    assert "Seccomp:\t2" in native


@BOTH
def test_project_has_its_layer(any_runtime: Runtime, executor: str) -> None:
    project = calls.public_directory(any_runtime, "project")
    place = ("--bundle", "host-project", "--project", project, "--executor", executor)
    any_runtime("run", "--keep", *place, "w", "sh", "-c", "echo > made; rm -rf /usr/mark").ok()
    assert any_runtime("diff", "--json", "w").ok().json()["writes"] == ["made"]
    assert list(project.iterdir()) == []


@BOTH
def test_whole_life_and_further_processes_work(any_runtime: Runtime, executor: str) -> None:
    bundle = any_runtime.bundle("sleep", "600", substrate={"init": True})
    chosen = ("--executor", executor)
    any_runtime("create", *chosen, "--bundle", bundle, "w").ok()
    any_runtime("start", "w").ok()
    script = "cat; grep CapEff /proc/self/status; exit 4"
    done = any_runtime("exec", *chosen, "w", "sh", "-c", script, stdin="in\n")
    assert (done.status, done.stdout) == (4, "in\nCapEff:\t" + "0" * 16 + "\n")
    assert any_runtime("exec", *chosen, "w", "missing").status == 127
    any_runtime("delete", "--force", "w").ok()


@BOTH
@pytest.mark.parametrize(
    ("args", "status"), [(("sh", "-c", "exit 7"), 7), (("missing",), 127), (("/etc",), 126)]
)
def test_status_is_the_programs_own(
    any_runtime: Runtime, executor: str, args: tuple[str, ...], status: int
) -> None:
    bundle = any_runtime.bundle(*args)
    done = any_runtime("run", "--executor", executor, "--bundle", bundle, "w")
    assert done.status == status, done
    assert any_runtime.worlds() == []


def test_failure_is_told_in_the_same_words(any_runtime: Runtime) -> None:
    broken: list[dict[str, Any]] = [
        {"process": {"cwd": "/nowhere"}},
        {"process": {"user": {"uid": 70000, "gid": 0}}},
        {"mounts": [{"destination": "/tmp", "type": "nosuchfs", "source": "none"}]},
        {"linux": {"sysctl": {"kernel.shm_rmid_forced": "many"}}},
    ]
    for overrides in broken:
        bundle = any_runtime.bundle("true", **overrides)
        words = ("--bundle", bundle, "w")
        ends = [any_runtime("run", "--executor", executor, *words) for executor in EXECUTORS]
        assert ends[0].stderr == ends[1].stderr
        assert {end.status for end in ends} <= {1, 4}
        assert ends[0].stderr.startswith("substrate-runtime: cannot ")
        assert any_runtime.worlds() == []


def test_plan_is_deterministic_and_names_every_system_call(any_runtime: Runtime) -> None:
    bundle = rich(any_runtime)
    plans = [any_runtime("plan", "--json", "--bundle", bundle).ok().stdout for _ in EXECUTORS]
    assert plans[0] == plans[1]
    for steps in json.loads(plans[0]).values():
        silent = [step["step"] for step in steps if not step["syscalls"]]
        assert [step for step in silent if "hand over" not in step] == []
    assert any_runtime.worlds() == []


@pytest.fixture
def context(runtime: Runtime) -> Context:
    """The runtime's own directories, for calls in this process."""
    home = runtime.home
    return Context(str(home / "state"), str(home / "data"), str(home / "cache"))


def failure_of_life(context: Context, bundle: Path, executor: str) -> str:
    """Create, start and delete a world in this process; return what failed, or ""."""
    request = CreateRequest("w", str(bundle), executor=executor)
    try:
        with World.claim(context, "w") as world:
            created = create(context, request, world)
            created.talk.close()
        try:
            start(context, "w", print)
        finally:
            delete(context, "w", print, force=True)
    except SubstrateError as error:
        return error.message
    finally:
        # As an engine does: the world's first process is a child of whoever created it.
        with suppress(ChildProcessError):
            while os.waitpid(-1, 0)[0]:
                pass
    return ""


@requires("root")
@pytest.mark.parametrize("part", ["launch", "staging"])
@pytest.mark.parametrize(("executor", "stride"), [("native", 1), ("python", 9)])
def test_any_call_the_kernel_lacks_is_told_by_its_step_and_leaves_nothing(
    runtime: Runtime,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    stride: int,
    part: str,
) -> None:
    compiled = conversation.compile_plan
    plans: list[Plan] = []
    broken = -1

    def compile_broken(steps: Any, *, timed: bool = False) -> Plan:
        plan = compiled(steps, timed=timed)
        plans.append(plan)
        return plan if broken < 0 else injection.with_broken_call(plan, broken)

    monkeypatch.setattr(f"substrate.isolation.{part}.compile_plan", compile_broken)
    bundle = rich(runtime)
    assert failure_of_life(context, bundle, executor) == ""
    whole = plans[0]
    survived: list[str] = []
    for broken in range(0, len(whole.ops), stride):
        op = whole.ops[broken]
        if op.number < 0:
            continue
        step = whole.steps[op.step]
        message = failure_of_life(context, bundle, executor)
        # `create` has ended well, so nobody listens, when what fails is to wait for `start`.
        expected = (f"cannot {step}", *(["container not running"] if step == AT_GATE else []))
        if not message:
            survived.append(step)
        else:
            assert message.startswith(expected), (broken, step, message)
        assert list_ids(context) == [], (broken, step)
    # What the plan says may be missing, and nothing else.
    allowed = ("make a new session keyring", "execute ", "mask ", "make 4 paths read-only")
    assert not [step for step in survived if not step.startswith(allowed)], survived
