from __future__ import annotations

import errno
import os
import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.bundle.model import Device
from substrate.bundle.mount_options import parse_mount_options
from substrate.filesystem.layers import escape
from substrate.isolation.lowering import Lowering
from substrate.isolation.steps.devices import MakeDevice, device_number
from substrate.isolation.steps.mounts import BindMount, PivotRoot
from substrate.isolation.steps.process import (
    BecomeUser,
    Execute,
    SetCapabilities,
    SetScheduler,
    candidates,
)
from substrate.kernel.constants import Ms
from substrate.kernel.plan import FAIL, TRY, Plan
from substrate.kernel.syscalls import NAMES
from tests.support.plan_text import calls_of, plan_text


def lowered(*steps: object) -> Plan:
    """Return the plan of some steps alone."""
    out = Lowering()
    for step in steps:
        out.plan.begin_step(step.describe())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        step.lower(out)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return out.plan.finish()


def names(plan: Plan) -> list[str]:
    return [NAMES.get(op.number, "") for op in plan.ops]


# --- small functions -----------------------------------------------------------------------------


@given(st.integers(0, 0xFFF), st.integers(0, 0xFFFFF))
def test_a_device_number_is_the_kernels(major: int, minor: int) -> None:
    assert device_number(major, minor) == os.makedev(major, minor)


@given(st.text(st.sampled_from("ab/:\\, \n"), max_size=12))
def test_an_escaped_path_is_one_layer_and_reads_back(path: str) -> None:
    escaped, read, layers = escape(path), "", 1
    characters = iter(escaped)
    for character in characters:
        if character == "\\":
            read += next(characters)
        elif character == ":":
            layers += 1
        else:
            read += character
    assert (read, layers) == (path, 1)


@pytest.mark.parametrize(
    ("program", "env", "paths"),
    [
        ("/bin/sh", ["PATH=/a"], ["/bin/sh"]),
        ("./sh", ["PATH=/a"], ["./sh"]),
        ("bin/sh", ["PATH=/a"], ["bin/sh"]),
        ("sh", ["PATH=/a:/b"], ["/a/sh", "/b/sh"]),
        # An empty element is the current directory; execvp(3).
        ("sh", ["PATH=:/a:"], ["./sh", "/a/sh", "./sh"]),
        ("sh", ["PATH="], ["./sh"]),
        # The last one counts, as in a shell that was given both.
        ("sh", ["PATH=/a", "PATH=/b"], ["/b/sh"]),
        ("sh", ["XPATH=/a", "path=/a"], None),
        ("sh", [], None),
        ("", ["PATH=/a"], [""]),
    ],
)
def test_a_program_is_looked_for_in_the_payloads_path(
    program: str, env: list[str], paths: list[str] | None
) -> None:
    if paths is None:
        usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        paths = [f"{directory}/{program}" for directory in usual.split(":")]
    assert candidates(program, env) == paths


# --- what steps become ---------------------------------------------------------------------------


def test_execute_tries_every_candidate_and_then_fails() -> None:
    plan = lowered(Execute(("sh", "-c"), ("PATH=/a:/b", "X=1")))
    assert [op.flags & (TRY | FAIL) for op in plan.ops] == [TRY, TRY, FAIL]
    text = plan_text(plan)
    assert 'execve("/a/sh"' in text
    assert 'execve("/b/sh"' in text


def test_a_program_given_by_path_is_the_only_candidate() -> None:
    plan = lowered(Execute(("name",), ("PATH=/a:/b",), "/host/hook"))
    assert len(calls_of(plan, "execve")) == 1
    assert plan.steps == ("execute /host/hook",)


@pytest.mark.parametrize(("kind", "mode"), [("c", stat.S_IFCHR), ("u", stat.S_IFCHR),
                                            ("b", stat.S_IFBLK), ("p", stat.S_IFIFO)])  # fmt: skip
def test_a_device_has_its_kind_mode_number_and_owner(kind: str, mode: int) -> None:
    plan = lowered(MakeDevice(Device("/dev/x", kind, 10, 229, 0o640, 5, 6)))
    (made,), (owned,) = calls_of(plan, "mknodat"), calls_of(plan, "fchownat")
    assert made.args[2:] == (mode | 0o640, os.makedev(10, 229))
    assert owned.args[2:4] == (5, 6)


def test_a_mode_of_a_device_has_no_kind_in_it() -> None:
    """Some engines write the whole st_mode."""
    plan = lowered(MakeDevice(Device("/dev/x", "c", 1, 3, stat.S_IFCHR | 0o666)))
    assert calls_of(plan, "mknodat")[0].args[2] == stat.S_IFCHR | 0o666


def test_groups_are_set_only_where_that_is_allowed() -> None:
    assert "setgroups" in names(lowered(BecomeUser(1, 2, (3,), may_set_groups=True)))
    assert "setgroups" not in names(lowered(BecomeUser(1, 2, (), may_set_groups=False)))


def test_the_group_is_changed_before_the_user() -> None:
    order = names(lowered(BecomeUser(1, 2, (), may_set_groups=True)))
    assert order.index("setgroups") < order.index("setresgid") < order.index("setresuid")


def test_capabilities_fill_both_words_of_each_set() -> None:
    step = SetCapabilities(("CAP_CHOWN", "CAP_BPF"), ("CAP_CHOWN",), (), ())
    plan = lowered(step)
    (call,) = calls_of(plan, "capset")
    effective, permitted, inheritable, *high = struct.unpack_from("=6I", plan.arena, call.args[1])
    assert (effective, permitted, inheritable) == (1, 1, 0)
    # CAP_BPF is number 39.
    assert high == [0, 1 << 7, 0]


def test_ambient_capabilities_are_cleared_and_then_raised() -> None:
    kill = ("CAP_KILL",)
    plan = lowered(SetCapabilities(kill, (), kill, kill))
    assert names(plan) == ["prctl", "capset", "prctl"]
    assert [op.args[1] for op in calls_of(plan, "prctl")] == [4, 2]


def test_capabilities_that_cannot_be_ambient_are_not_raised() -> None:
    kill = ("CAP_KILL",)
    for permitted, inheritable in ((kill, ()), ((), kill), ((), ())):
        plan = lowered(SetCapabilities(permitted, (), inheritable, kill))
        assert names(plan) == ["prctl", "capset"]


def test_a_schedulers_attributes_have_the_kernels_size() -> None:
    plan = lowered(SetScheduler("SCHED_DEADLINE", (), 0, 0, 10, 20, 30))
    (call,) = calls_of(plan, "sched_setattr")
    size, policy, _, _, _, *times = struct.unpack_from("=IIQiIQQQ", plan.arena, call.args[1])
    assert (size, policy, times) == (48, 6, [10, 20, 30])


@pytest.mark.parametrize(("pivot", "call"), [(True, "pivot_root"), (False, "chroot")])
def test_the_old_root_is_left(pivot: bool, call: str) -> None:
    order = names(lowered(PivotRoot(pivot, 0)))
    assert call in order
    assert order[-1] == "chdir"
    if pivot:
        # The unmounting must not propagate to the host.
        assert order.index("mount") < order.index("umount2")


def test_a_propagation_asked_for_is_set_at_the_end() -> None:
    plan = lowered(PivotRoot(True, Ms.SHARED | Ms.REC))
    assert plan.ops[-1].args[3] == Ms.SHARED | Ms.REC


def test_attributes_of_a_bind_are_set_before_it_is_attached() -> None:
    """Otherwise it would be writable for a moment (CVE-2021-30465 and its kin)."""
    options = parse_mount_options(["rbind", "rro", "nosuid", "rprivate"], "bind")
    order = names(lowered(BindMount("/host", "/world", options, is_directory=True)))
    assert order.index("open_tree") < order.index("mount_setattr") < order.index("move_mount")


def test_every_path_of_the_world_is_opened_inside_of_it() -> None:
    options = parse_mount_options(["bind"], "bind")
    plan = lowered(BindMount("/host", "/a/b/c", options, is_directory=False))
    source, *paths = calls_of(plan, "openat2")
    # The host's path: no link on it can lead anywhere, RESOLVE_NO_MAGICLINKS and NO_SYMLINKS.
    assert struct.unpack_from("=3Q", plan.arena, source.args[2])[2] & 0x06 == 0x06
    assert len(paths) > 2
    for op in paths:
        _, _, resolve = struct.unpack_from("=3Q", plan.arena, op.args[2])
        # RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS
        assert resolve & 0x12 == 0x12
        assert not plan.arena[op.args[1] :].startswith(b"/")


def test_a_missing_directory_is_made_component_by_component_and_once() -> None:
    out = Lowering()
    out.plan.begin_step("test")
    out.make_directory("/a/b")
    out.make_directory("/a/b")
    out.make_directory("/a/c")
    plan = out.plan.finish()
    made = [plan.arena[op.args[1] :].split(b"\0")[0] for op in calls_of(plan, "mkdirat")]
    assert made == [b"a", b"b", b"c"]
    assert all(errno.EEXIST in op.ignore for op in calls_of(plan, "mkdirat"))


def test_a_mount_hides_what_was_made_below_it() -> None:
    out = Lowering()
    out.plan.begin_step("test")
    out.make_directory("/a/b")
    mount = out.new_cell("mount")
    out.plan.call("fsmount", 0, 0, 0, store=mount)
    out.attach(mount, "/a")
    out.make_directory("/a/b")
    plan = out.plan.finish()
    made = [plan.arena[op.args[1] :].split(b"\0")[0] for op in calls_of(plan, "mkdirat")]
    assert made == [b"a", b"b", b"b"]


@pytest.mark.parametrize("path", ["/proc", "/sys", "/dev"])
def test_kernel_file_systems_never_go_behind_a_link(path: str) -> None:
    """CVE-2019-19921: an image whose /proc is a link."""
    out = Lowering()
    out.plan.begin_step("test")
    out.attach(out.new_cell("mount"), path)
    plan = out.plan.finish()
    flags, _, _ = struct.unpack_from("=3Q", plan.arena, calls_of(plan, "openat2")[-1].args[2])
    assert flags & os.O_NOFOLLOW
