"""The order of the isolation steps, for any world: what must precede what."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from substrate.filesystem.layers import Stacked
from substrate.isolation.conversation import compile_plan
from substrate.isolation.entering import (
    EnteredWorld,
    exec_plan,
    exec_sequence,
    hook_sequence,
    mounts_sequence,
)
from substrate.isolation.payload import NO_DESCRIPTORS, Descriptors
from substrate.isolation.sequence import create_sequence
from substrate.isolation.steps.process import GATE_DESCRIPTION
from substrate.isolation.steps.spanning import SpanOverlay
from substrate.kernel.constants import Pr
from substrate.kernel.plan import FAIL, IDLE, REAP, TRY
from substrate.kernel.syscalls import NAMES
from tests.support.examples import examples
from tests.support.plan_text import calls_of
from tests.support.worlds import FILTER, oci, shipped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.bundle.model import Process
    from substrate.isolation.lowering import Step
    from substrate.kernel.plan import Plan
    from tests.support.worlds import FixedHost

_KINDS = ("user", "pid", "network", "ipc", "uts", "cgroup", "time")
_SETS = st.lists(st.sampled_from(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"]), unique=True)
_HOOK = [{"path": "/bin/true"}]
_HIDE = "make the setup process untraceable"
_DEGRADED = ("cgroup", "device-rules")

# (the earlier step, the later one), by the beginning of what they say. Where both occur, every
# earlier one comes before every later one.
ORDER = [
    ("reset signal handling", "join "),
    ("reset signal handling", "make new namespaces"),
    ("join user namespace", "make new namespaces"),
    ("make new namespaces (user)", "wait for the runtime to write the id maps"),
    ("make new namespaces (pid", "set the offsets of the time namespace"),
    ("set the offsets of the time namespace", "fork into the pid namespace"),
    ("make new namespaces (pid", "fork into the pid namespace"),
    ("fork into the pid namespace", "become uid 0, gid 0 of the new user"),
    ("wait for the runtime to record the process", "become uid 0, gid 0 of the new user"),
    ("wait for the runtime to record the process", "make new namespaces (mount"),
    ("become uid 0, gid 0 of the new user", "make new namespaces (mount"),
    ("fork into the pid namespace", "wait for the runtime to record the process"),
    ("wait for the runtime to record the process", "set the propagation"),
    ("make new namespaces", "set the propagation"),
    ("set the propagation", "use "),
    ("set the propagation", "mount "),
    ("set the propagation", "bind "),
    ("use ", "mount "),
    ("mount tmpfs on /dev", "bind the device"),
    ("mount tmpfs on /dev", "make the device"),
    ("mount ", "wait for the runtime to run the hooks"),
    ("bind ", "wait for the runtime to run the hooks"),
    ("wait for the runtime to run the hooks", "set the sysctl"),
    ("mount proc on /proc", "set the sysctl"),
    ("set the sysctl", "mask "),
    ("set the sysctl", "make 1 paths read-only"),
    ("mount devpts", "open a terminal"),
    ("open a terminal", "switch to the new root"),
    ("open a terminal", "start a new session"),
    ("mount ", "mask "),
    ("mask ", "switch to the new root"),
    ("make the directory", "make the root file system read-only"),
    ("make the root file system read-only", "switch to the new root"),
    ("make 1 paths read-only", "switch to the new root"),
    ("wait for the runtime to run the hooks", "switch to the new root"),
    ("switch to the new root", "hand over to world-init"),
    ("hand over to world-init", "start a new session"),
    ("switch to the new root", "drop capabilities from the bounding set"),
    ("drop capabilities from the bounding set", "become uid"),
    ("become uid 5", "change to the working directory"),
    ("drop capabilities from the bounding set", "set the capabilities"),
    ("become uid 5", "set the capabilities"),
    ("set no_new_privs", "load the seccomp filter"),
    ("set no_new_privs", "set the capabilities"),
    ("set the capabilities", "wait for the start of the world"),
    ("switch to the new root", "wait for the start of the world"),
    ("wait for the start of the world", "leave a reaping init"),
    ("wait for the start of the world", "close inherited descriptors"),
    ("close inherited descriptors", "execute "),
    ("load the seccomp filter", "execute "),
    ("set the capabilities", "execute "),
]


def before(steps: list[str], earlier: str, later: str) -> bool:
    """Whether every step of the one kind comes before every step of the other."""
    firsts = [n for n, step in enumerate(steps) if step.startswith(earlier)]
    lasts = [n for n, step in enumerate(steps) if step.startswith(later)]
    # "become uid 0, gid 0 of the new user namespace" is not the payload's change of user.
    if later == "become uid":
        lasts = [n for n in lasts if "of the new user namespace" not in steps[n]]
    return not firsts or not lasts or max(firsts) < min(lasts)


def described(steps: Iterable[Step]) -> list[str]:
    return [step.describe() for step in steps]


def judge(steps: list[str]) -> None:
    wrong = [pair for pair in ORDER if not before(steps, *pair)]
    assert wrong == [], "\n".join(steps)


def judge_traceability(steps: list[str]) -> None:
    """Root's setup process is never traceable where somebody else could be (CVE-2016-9962)."""
    if _HIDE not in steps:
        return
    assert all(_HIDE in steps[:n] for n, step in enumerate(steps) if step.startswith("join "))
    # execve and a change of the uid both make a process traceable again.
    for n, step in enumerate(steps):
        mapped = "of the new user namespace" in step
        if step == "hand over to world-init" or (step.startswith("become uid") and not mapped):
            assert steps[n + 1] == _HIDE, "\n".join(steps)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Return top-level keys of config.json, for `oci`."""
    kinds = draw(st.lists(st.sampled_from(_KINDS), unique=True))
    joined = draw(st.sets(st.sampled_from(["network", "ipc", "pid", "user"])))
    namespaces = [{"type": "mount"}] + [
        {"type": kind} | ({"path": f"/run/{kind}"} if kind in joined else {}) for kind in kinds
    ]
    maps = None
    if "user" in kinds and "user" not in joined:
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    capabilities = {
        name: draw(_SETS) for name in ("bounding", "effective", "permitted", "inheritable")
    }
    return {
        "process": draw(st.none() | st.just({
            "terminal": draw(st.booleans()),
            "noNewPrivileges": draw(st.booleans()),
            "capabilities": capabilities,
            "user": {"uid": 5, "gid": 5},
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        })),
        "hooks": draw(st.just({}) | st.just({"createRuntime": _HOOK, "startContainer": _HOOK})),
        "root": {"readonly": draw(st.booleans())},
        "linux": {
            "namespaces": namespaces,
            "uidMappings": maps,
            "gidMappings": maps,
            "sysctl": draw(st.just({}) | st.just({"kernel.domainname": "x"})),
            "timeOffsets": {"monotonic": {"secs": 1}} if "time" in kinds else None,
            "readonlyPaths": ["/proc/sys"],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
        },
        "substrate": draw(st.none() | st.just({"init": draw(st.booleans())})),
    }  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(25))
@given(configurations(), st.booleans(), st.booleans())
def test_any_world_is_made_in_order(
    host: FixedHost, changes: dict[str, Any], listening: bool, no_pivot: bool
) -> None:
    spec = host.spec(
        oci(host.folder, **changes), listening=listening, no_pivot=no_pivot,
        allow_degraded=_DEGRADED,
    )  # fmt: skip
    steps = list(create_sequence(spec))
    judge(described(steps))
    judge_traceability(described(steps))
    _judge_calls(compile_plan(steps))


def _judge_calls(plan: Plan) -> None:
    """What holds for every plan, whatever its steps are called."""
    names = [NAMES.get(op.number, "") for op in plan.ops]
    # Nothing that changes the tree comes after it was left.
    tree = {
        "move_mount",
        "open_tree",
        "mount_setattr",
        "fsmount",
        "mkdirat",
        "mknodat",
        "symlinkat",
    }
    assert not tree & set(names[plan.handover :])
    # The Python executor runs none of the ops that only world-init knows.
    only_native = REAP | IDLE | TRY | FAIL
    assert not any(op.flags & only_native for op in plan.ops[: plan.handover])
    # The bounding set is dropped before the sets that allow that are.
    assert names.count("capset") == 1
    prctls = calls_of(plan, "prctl")
    drops = [plan.ops.index(op) for op in prctls if op.args[0] == Pr.CAPBSET_DROP]
    assert not drops or max(drops) < names.index("capset")


@pytest.mark.parametrize("bundle", ["host-project", "readonly-review", "locked-down", "rootless"])
@pytest.mark.parametrize("privileged", [True, False])
def test_the_shipped_worlds_are_made_in_order(
    host: FixedHost, bundle: str, privileged: bool
) -> None:
    steps = described(create_sequence(host.spec(shipped(bundle), privileged=privileged)))
    judge(steps)
    judge_traceability(steps)


def test_the_table_of_orders_names_steps_that_exist(host: FixedHost) -> None:
    """A step that was renamed would be in order for ever."""
    seen: list[str] = []
    linux = {
        "sysctl": {"kernel.domainname": "x"},
        "timeOffsets": {"monotonic": {"secs": 1}},
        "readonlyPaths": ["/proc/sys"],
        "namespaces": [{"type": kind} for kind in ("mount", *_KINDS)],
        "devices": [{"path": "/dev/fuse", "type": "p"}],
    }
    process = {"terminal": True, "user": {"uid": 5, "gid": 5}}
    extension = {"init": True}
    changes: dict[str, Any] = {"linux": linux, "process": process, "substrate": extension,
                               "hooks": {"createRuntime": _HOOK}}  # fmt: skip
    seen += described(create_sequence(host.spec(oci(host.folder, **changes))))
    writable = {"root": {"readonly": False}, "process": {"cwd": "/made"}}
    seen += described(create_sequence(host.spec(oci(host.folder, **changes | writable))))
    joined = {"namespaces": [{"type": "user", "path": "/u"}, {"type": "mount"}],
              "uidMappings": None, "gidMappings": None}  # fmt: skip
    spec = host.spec(oci(host.folder, linux=joined), allow_degraded=_DEGRADED)
    seen += described(create_sequence(spec))
    seen += described(create_sequence(host.spec(shipped("host-project"))))
    for words in {*itertools.chain(*ORDER)}:
        assert any(step.startswith(words) for step in seen), words


def test_without_no_new_privs_the_filter_is_loaded_while_that_is_allowed(host: FixedHost) -> None:
    process = {"noNewPrivileges": False}
    steps = described(create_sequence(host.spec(oci(host.folder, process=process))))
    assert before(steps, "load the seccomp filter", "drop capabilities")
    assert "set no_new_privs" not in steps


def test_with_no_new_privs_only_execve_comes_after_the_filter(host: FixedHost) -> None:
    steps = described(create_sequence(host.spec(oci(host.folder))))
    loaded = steps.index("load the seccomp filter (1 instructions)")
    assert steps[loaded + 1 :] == ["execute /bin/true"]


def process_of(host: FixedHost, **changes: Any) -> Process:
    process = oci(host.folder, process=changes).process
    assert process is not None
    return process


@pytest.mark.parametrize("terminal", [True, False])
def test_a_further_process_is_untraceable_before_it_joins(host: FixedHost, terminal: bool) -> None:
    process = process_of(host, terminal=terminal)
    steps = described(exec_sequence(process, EnteredWorld(("user", "pid", "mount")), FILTER))
    assert steps.index(_HIDE) < steps.index("join the world's namespaces")
    assert before(steps, "join the world", "fork into the pid namespace")
    judge(steps)
    judge_traceability(steps)


def test_a_further_process_is_as_confined_as_the_first(host: FixedHost) -> None:
    process = process_of(host)
    first = described(create_sequence(host.spec(oci(host.folder))))
    further = described(exec_sequence(process, EnteredWorld(("user", "pid", "mount")), FILTER))
    tail = first[first.index("drop capabilities from the bounding set") :]
    assert further[-len(tail) :] == tail


def test_a_plan_of_many_is_the_plan_of_its_steps(host: FixedHost) -> None:
    worlds = [
        EnteredWorld(("user", "pid", "mount", "cgroup")),
        EnteredWorld(("user", "pid", "mount"), into_cgroup=True, joins_mounts=True),
    ]
    words = [("true",), ("sh", "-c", "x" * 100), ("/bin/true",), ("true",)]
    for _ in range(2):  # some are begun already then
        for world, args, cwd in itertools.product(worlds, words, ("/", "/work")):
            process = process_of(host, args=list(args), env=[f"N={len(args)}"], cwd=cwd)
            for descriptors in (NO_DESCRIPTORS, Descriptors(given=(0, 1, 2))):
                steps = exec_sequence(process, world, FILTER, descriptors)
                assert exec_plan(process, world, FILTER, descriptors) == compile_plan(steps)


def test_who_makes_the_mounts_of_a_span_ahead_enters_nothing_else(host: FixedHost) -> None:
    overlay = SpanOverlay(
        project=str(host.folder), at="/work", data="/data", before="layers/1.one", rootful=True,
        own_userns=True, stack=Stacked("layers/.ahead-2.x", ("layers/1.one",)),
    )  # fmt: skip
    steps = described(mounts_sequence(overlay))
    joins = [step for step in steps if step.startswith("join")]
    assert joins == ["join mount namespace of the world"]
    assert steps[0] == _HIDE
    assert before(steps, "check that nobody writes", "make the span's layer")
    assert before(steps, "lock the mounts against the world", "join mount namespace of the world")
    assert not any("fork" in step or "execute" in step for step in steps)
    # At its gate it waits for nothing but its end.
    assert steps[-1] == GATE_DESCRIPTION


def test_a_world_of_a_shared_pid_namespace_forks_nobody(host: FixedHost) -> None:
    steps = described(exec_sequence(process_of(host), EnteredWorld(("mount",)), None))
    assert "fork into the pid namespace" not in steps
    assert not any("seccomp" in step for step in steps)


def test_a_hook_keeps_its_rights_and_no_descriptors() -> None:
    steps = described(hook_sequence(EnteredWorld(("mount",)), ("hook",), (), "/bin/hook"))
    assert steps[-2:] == ["close inherited descriptors", "execute /bin/hook"]
    assert not any(step.startswith(("drop", "become", "set the cap")) for step in steps)


@pytest.mark.parametrize("preserved", [0, 3])
def test_only_preserved_descriptors_survive(host: FixedHost, preserved: int) -> None:
    plan = compile_plan(create_sequence(host.spec(oci(host.folder), preserve_fds=preserved)))
    (closing,) = calls_of(plan, "close_range")
    assert closing.args == (3 + preserved, 0xFFFFFFFF, 4)


def test_every_step_says_what_cannot_be_done(host: FixedHost) -> None:
    """Errors read "cannot …"; a step's words must go on from there."""
    for step in described(create_sequence(host.spec(shipped("host-project")))):
        assert step[0].islower()
        assert not step.endswith(".")
        assert "\n" not in step
