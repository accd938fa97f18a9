"""One suite over both executors: a plan has the same effect whoever runs it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from substrate.isolation.lowering import Lowering
from substrate.isolation.steps.namespaces import ResetSignals
from substrate.kernel import messages
from substrate.kernel.constants import At, O
from substrate.kernel.plan import ANY_ERROR, FAIL, JUMP, LEAVE, REAP, TRY, load, packed
from substrate.kernel.spawn import EXECUTORS
from substrate.record import replace
from tests.support.plans import Builder, Outcome, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from substrate.kernel.plan import Cell, Plan

_MISSING = "/nonexistent/file"
_CLONE_PARENT, _SIGCHLD = 0x8000, 17


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def play(executor: str) -> Callable[[Builder], Outcome]:
    """Run what the builder holds."""
    return lambda builder: run(builder.finish(), executor)


def open_missing(builder: Builder, *ignore: int, flags: int = 0, store: Cell | None = None) -> int:
    """Append a call that fails with ENOENT."""
    path = builder.text(_MISSING)
    return builder.call(
        "openat", At.FDCWD, path, O.RDONLY, 0, ignore=ignore, flags=flags, store=store
    )


def test_calls_are_made_in_order(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    for word in ("one ", "two ", "three"):
        builder.say(word)
    assert play(builder) == Outcome(b"one two three", (), 0)


def test_an_empty_plan_succeeds(play: Callable[[Builder], Outcome]) -> None:
    assert play(Builder()) == Outcome(b"", (), 0)


@pytest.mark.parametrize("handover", [0, 1, 2, 3])
def test_it_does_not_matter_where_python_hands_over(executor: str, handover: int) -> None:
    builder = Builder()
    for number, word in enumerate(("one ", "two ", "three")):
        if number == handover:
            builder.hand_over()
        builder.say(word)
    assert run(builder.finish(), executor) == Outcome(b"one two three", (), 0)


def test_a_dumped_plan_is_the_same_plan(executor: str) -> None:
    builder = Builder()
    builder.say("same")
    plan = builder.finish()
    assert load(plan.dump()) == plan
    assert run(load(plan.dump()), executor).output == b"same"


def test_results_go_into_cells_and_cells_into_arguments(
    play: Callable[[Builder], Outcome],
) -> None:
    builder = Builder()
    fd, text = builder.cell("file"), builder.data(bytes(16))
    name = builder.text("/proc/self/comm")
    builder.call("openat", At.FDCWD, name, O.RDONLY, 0, store=fd)
    size = builder.cell("size")
    builder.call("read", fd, text, 16, store=size)
    builder.call("write", builder.out, text, size)
    # The name is python's or world-init's; that there is one shows that both cells were used.
    assert play(builder).output.endswith(b"\n")


def test_a_cell_holds_minus_one_before_anything_is_stored(
    play: Callable[[Builder], Outcome],
) -> None:
    builder = Builder()
    builder.call("close", builder.cell("nothing"))
    assert play(builder).error == (0, errno.EBADF)


def test_a_negative_cell_is_sign_extended(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    # As 2**32 - 1 it would be a size, and the write a partial success.
    builder.call("write", builder.out, builder.text("x"), builder.cell("minus one"))
    assert play(builder).error == (0, errno.EFAULT)


def test_a_failed_call_stores_nothing(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    cell = builder.cell("fd")
    open_missing(builder, errno.ENOENT, store=cell)
    builder.say_bytes(cell.address, 4)
    assert play(builder).output == b"\xff\xff\xff\xff"


def test_pointers_within_structures_are_relocated(executor: str) -> None:
    builder = Builder()
    peer = builder.input("peer")
    vector = builder.structure(
        struct.pack("=QQQQ", 0, 3, 0, 2), [(0, builder.text("one")), (16, builder.text("two"))]
    )
    header = builder.structure(struct.pack("=7Q", 0, 0, 0, 2, 0, 0, 0), [(16, vector)])
    builder.call("sendmsg", peer, header, 0, expect=5)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert run(builder.finish(), executor, {"peer": theirs.fileno()}).status == 0
        assert ours.recv(16) == b"onetw"


def test_an_unexpected_error_ends_the_plan_and_names_the_op(
    play: Callable[[Builder], Outcome],
) -> None:
    builder = Builder()
    builder.say("before")
    failing = open_missing(builder)
    builder.say("after")
    outcome = play(builder)
    assert (outcome.output, outcome.status) == (b"before", 127)
    assert outcome.error == (failing, errno.ENOENT)


@pytest.mark.parametrize("ignore", [(errno.ENOENT,), (errno.EPERM, errno.ENOENT), (ANY_ERROR,)])
def test_an_ignored_error_is_passed_over(
    play: Callable[[Builder], Outcome], ignore: tuple[int, ...]
) -> None:
    builder = Builder()
    open_missing(builder, *ignore)
    builder.say("after")
    assert play(builder) == Outcome(b"after", (), 0)


def test_another_error_than_the_ignored_ends_the_plan(
    play: Callable[[Builder], Outcome],
) -> None:
    builder = Builder()
    failing = open_missing(builder, errno.EPERM)
    assert play(builder).error == (failing, errno.ENOENT)


def test_an_ignored_error_skips_what_depends_on_it(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    opened = open_missing(builder, errno.ENOENT)
    builder.say("skipped")
    builder.say("skipped")
    builder.skip_to_here(opened)
    builder.say("after")
    assert play(builder).output == b"after"


def test_success_skips_nothing(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    first = builder.call("umask", 0o22, ignore=(ANY_ERROR,))
    builder.say("one ")
    builder.skip_to_here(first)
    builder.say("two")
    assert play(builder).output == b"one two"


def test_a_jump_always_skips(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    jump = builder.call("", flags=JUMP)
    builder.say("skipped")
    builder.skip_to_here(jump)
    builder.say("after")
    assert play(builder).output == b"after"


def test_a_skip_may_lead_over_the_handover(executor: str) -> None:
    builder = Builder()
    jump = builder.call("", flags=JUMP)
    builder.say("skipped")
    builder.skip_to_here(jump)
    builder.hand_over()
    builder.say("after")
    assert run(builder.finish(), executor).output == b"after"


def test_an_expected_result_is_demanded(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    builder.call("write", builder.out, builder.text("four"), 4, expect=4)
    short = builder.call("write", builder.out, builder.text("four"), 4, expect=5)
    outcome = play(builder)
    assert outcome.output == b"fourfour"
    assert outcome.error == (short, errno.EPROTO)


def test_an_expectation_of_zero_is_one(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    builder.call("write", builder.out, builder.text("x"), 1, expect=0)
    assert play(builder).error == (0, errno.EPROTO)


def test_an_unmet_expectation_can_be_ignored(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    builder.call("write", builder.out, builder.text("x"), 1, expect=0, ignore=(errno.EPROTO,))
    builder.say("y")
    assert play(builder) == Outcome(b"xy", (), 0)


def test_a_fork_that_leaves_reports_the_childs_pid(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    arguments = builder.data(struct.pack("=11Q", 0, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, 0))
    builder.call("clone3", arguments, 88, flags=LEAVE)
    builder.say("child")
    outcome = play(builder)
    assert (outcome.output, outcome.status) == (b"child", 0)
    ((tag, pid),) = outcome.reported
    assert tag == messages.PID
    assert pid > 1


def test_a_fork_for_our_parent_leaves_us_its_child(play: Callable[[Builder], Outcome]) -> None:
    builder = Builder()
    arguments = builder.data(struct.pack("=11Q", _CLONE_PARENT, *[0] * 10))
    builder.call("clone3", arguments, 88, flags=LEAVE)
    builder.say("child")
    outcome = play(builder)
    ((_, pid),) = outcome.reported
    assert os.waitpid(pid, 0) == (pid, 0)


def test_the_parent_of_a_reaped_fork_ends_as_its_child(executor: str) -> None:
    builder = Builder()
    builder.hand_over()
    arguments = builder.data(struct.pack("=11Q", 0, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, 0))
    builder.call("clone3", arguments, 88, flags=REAP)
    builder.say("child")
    builder.call("exit_group", 7)
    assert run(builder.finish(), executor) == Outcome(b"child", (), 7)


def test_a_reaped_child_that_a_signal_ended_counts_as_128_and_more(executor: str) -> None:
    builder = Builder()
    builder.hand_over()
    arguments = builder.data(struct.pack("=11Q", 0, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, 0))
    builder.call("clone3", arguments, 88, flags=REAP)
    argv = builder.string_array(["sh", "-c", "kill -TERM $$"])
    builder.call("execve", builder.text("/bin/sh"), argv, builder.string_array([]))
    assert run(builder.finish(), executor).status == 128 + signal.SIGTERM


def test_the_first_candidate_that_exists_is_executed(executor: str) -> None:
    outcome = run(_candidates([_MISSING, "/bin/true", "/bin/false"]), executor)
    assert outcome == Outcome(b"", (), 0)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([_MISSING, _MISSING], errno.ENOENT),
        (["/etc/passwd", _MISSING], errno.EACCES),
        ([_MISSING, "/etc/passwd"], errno.EACCES),
        (["/etc/passwd/x", _MISSING], errno.ENOTDIR),
        (["/etc/passwd/x", "/etc/passwd"], errno.EACCES),
    ],
)
def test_permission_denied_tells_more_than_not_found(
    executor: str, paths: list[str], expected: int
) -> None:
    plan = _candidates(paths)
    outcome = run(plan, executor)
    assert outcome.error == (len(plan.ops) - 1, expected)
    assert outcome.status == 127


def _candidates(paths: list[str]) -> Plan:
    builder = Builder()
    builder.hand_over()
    argv = builder.string_array(["true"])
    env = builder.string_array([])
    # Nothing to be heard of a program that ran: "sync" and the pipe close as it starts.
    builder.call("close_range", 3, 0xFFFFFFFF, 4)
    for path in paths:
        builder.call("execve", builder.text(path), argv, env, flags=TRY)
    builder.call("", flags=FAIL)
    return builder.finish()


def test_trying_belongs_to_world_init() -> None:
    builder = Builder()
    tried = open_missing(builder, flags=TRY)
    assert run(builder.finish(), "python").error == (tried, errno.ENOSYS)


def test_a_system_call_the_kernel_lacks_is_reported_as_such(executor: str) -> None:
    builder = Builder()
    builder.call("umask", 0)
    plan = builder.finish()
    lacking = replace(plan, code=b"".join(packed(replace(op, number=9999)) for op in plan.ops))
    assert run(lacking, executor).error == (0, errno.ENOSYS)


def test_a_payload_starts_with_default_signals(executor: str) -> None:
    out = Lowering()
    plan = out.plan
    plan.begin_step("test")
    # Python ignores SIGPIPE and SIGXFSZ, and would hand that down to every program.
    ResetSignals().lower(out)
    plan.hand_over()
    argv = plan.string_array(["sh", "-c", "grep ^Sig /proc/self/status >&9"])
    plan.call("dup3", plan.input("out"), 9, 0)
    plan.call("execve", plan.text("/bin/sh"), argv, plan.string_array([]))
    told = run(plan.finish(), executor).output.decode()
    masks = dict(line.split(":\t") for line in told.splitlines())
    assert masks["SigIgn"] == "0" * 16
    assert masks["SigBlk"] == "0" * 16


def test_nothing_but_inputs_and_what_is_kept_is_inherited(executor: str, tmp_path: Path) -> None:
    kept = os.open(tmp_path, os.O_RDONLY)
    stray = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(stray, False)
    builder = Builder()
    builder.hand_over()
    argv = builder.string_array(["sh", "-c", "exec ls -1 /proc/self/fd >&9"])
    builder.call("dup3", builder.out, 9, 0)
    builder.call("execve", builder.text("/bin/sh"), argv, builder.string_array([]))
    try:
        listed = run(builder.finish(), executor, keep=[kept]).output.split()
    finally:
        os.close(kept)
        os.close(stray)
    assert str(kept).encode() in listed
    assert str(stray).encode() not in listed


def test_the_callers_own_descriptors_stay_close_on_exec(executor: str) -> None:
    read_fd, write_fd = os.pipe()
    builder = Builder()
    builder.say("done")
    try:
        run(builder.finish(), executor, keep=[write_fd])
        assert not os.get_inheritable(write_fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_the_program_in_the_world_is_not_the_interpreter(executor: str) -> None:
    builder = Builder()
    builder.hand_over()
    buffer, size = builder.data(bytes(64)), builder.cell("size")
    fd = builder.cell("fd")
    name = builder.text("/proc/self/comm")
    builder.call("openat", At.FDCWD, name, O.RDONLY, 0, store=fd)
    builder.call("read", fd, buffer, 64, store=size)
    builder.call("write", builder.out, buffer, size)
    # A program executed by descriptor is named after its number.
    assert not run(builder.finish(), executor).output.startswith(b"python")
