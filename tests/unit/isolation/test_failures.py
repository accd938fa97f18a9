from __future__ import annotations

import errno
import os

import pytest

from substrate.errors import (
    CannotExecuteError,
    CommandNotFoundError,
    StepError,
    UnsupportedError,
)
from substrate.isolation.conversation import compile_plan
from substrate.isolation.failures import failure, step_error
from substrate.isolation.sequence import create_sequence
from tests.support.worlds import FixedHost, oci


def test_a_failure_names_step_call_and_reason() -> None:
    error = failure("mount tmpfs on /tmp", "fsmount", errno.EPERM)
    assert isinstance(error, StepError)
    assert error.message == "cannot mount tmpfs on /tmp: fsmount: operation not permitted"
    assert (error.status, error.errno) == (1, errno.EPERM)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
def test_a_program_that_is_not_there_ends_in_127(number: int) -> None:
    error = failure("execute sh", "", number)
    assert isinstance(error, CommandNotFoundError)
    assert error.status == 127
    # podman looks for these words.
    assert "executable file not found" in error.message


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOEXEC, errno.EPERM, errno.E2BIG])
def test_a_program_that_cannot_run_ends_in_126(number: int) -> None:
    error = failure("execute /etc/passwd", "", number)
    assert isinstance(error, CannotExecuteError)
    assert error.status == 126
    assert error.message == f"cannot execute /etc/passwd: {os.strerror(number).lower()}"


def test_a_call_the_kernel_lacks_is_unsupported() -> None:
    error = failure("bind /a on /b", "mount_setattr", errno.ENOSYS)
    assert isinstance(error, UnsupportedError)
    assert error.status == 4
    assert "mount_setattr" in error.hint


def test_half_an_answer_is_told_in_words() -> None:
    error = failure("wait for the start of the world", "read", errno.EPROTO)
    assert "protocol" not in error.message.lower()
    assert "the other side is gone" in error.message


@pytest.mark.parametrize(
    ("step", "call", "number", "words"),
    [
        ("make new namespaces (user)", "unshare", errno.EPERM, "user.max_user_namespaces"),
        ("make new namespaces (user)", "unshare", errno.ENOSPC, "user.max_"),
        ("become uid 5, gid 5", "setresuid", errno.EINVAL, "id map"),
        ("become uid 5, gid 5", "setgroups", errno.EPERM, "id map"),
        ("bind /a on /b", "openat2", errno.ELOOP, "symbolic link"),
        ("mount proc on /proc", "fsmount", errno.EPERM, "/proc"),
    ],
)
def test_what_is_often_met_has_a_hint(step: str, call: str, number: int, words: str) -> None:
    assert words in failure(step, call, number).hint


def test_any_failing_op_of_a_plan_can_be_told(host: FixedHost) -> None:
    plan = compile_plan(create_sequence(host.spec(oci(host.folder))))
    for index, op in enumerate(plan.ops):
        error = step_error(plan, index << 12 | errno.EIO)
        assert plan.steps[op.step] in error.message
        assert error.message.endswith("input/output error")
        assert ": :" not in error.message
