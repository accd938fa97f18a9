"""What a failed step is told as: the step, the system call, what the kernel said, what to do."""

from __future__ import annotations

import errno
import os

from substrate.errors import (
    CannotExecuteError,
    CommandNotFoundError,
    IdMapsUnsupportedError,
    LayerInUseError,
    LayerNamesError,
    OverlayUnsupportedError,
    StepError,
    SubstrateError,
    UnsupportedError,
)
from substrate.filesystem.layers import OVERLAY_HINT
from substrate.isolation.steps.process import EXECUTE, GATE_DESCRIPTION
from substrate.isolation.steps.project import AN_OVERLAY
from substrate.isolation.steps.spanning import CHECK_AT_REST, MAKE_LAYER
from substrate.isolation.steps.staging import MAP_PROJECT_IDS, NO_ID_MAPS, STAGE_OVERLAY
from substrate.kernel import messages
from substrate.kernel.syscalls import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.kernel.plan import Plan

_OF_MOUNTS = ("fsopen", "fsconfig", "fsmount")
# What the kernel says of directories that no overlay can be made of, or without overlayfs.
_NO_OVERLAY = (
    errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENODEV, errno.EREMOTE, errno.EROFS,
    errno.EXDEV, errno.ESTALE, errno.EIO, errno.ELOOP,
)  # fmt: skip


def step_error(plan: Plan, value: int) -> SubstrateError:
    """Return the error for an ERROR message: the step, the system call, what the kernel said."""
    index, number = messages.error_parts(value)
    op = plan.ops[index]
    return failure(plan.steps[op.step], NAMES.get(op.number, ""), number)


def steps_after_gate(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return op index -> (step, system call) of what `start` lets run, to explain its failures.

    `start` is another process, and has no plan.
    """
    first = next(
        index for index, op in enumerate(plan.ops) if plan.steps[op.step] == GATE_DESCRIPTION
    )
    return {
        str(index): (plan.steps[op.step], NAMES.get(op.number, ""))
        for index, op in enumerate(plan.ops[first:], first)
    }


def failure(step: str, call: str, number: int) -> SubstrateError:
    """Return the error for a step whose system call failed with an errno."""
    text = os.strerror(number).lower()
    if step.startswith(EXECUTE):
        program = step.removeprefix(EXECUTE)
        if number in (errno.ENOENT, errno.ENOTDIR):
            message = f"cannot {step}: executable file not found in the world: {text}"
            return CommandNotFoundError(message, f"is {program} installed in it?", number)
        return CannotExecuteError(f"cannot {step}: {text}", "", number)
    if number == errno.EPROTO:
        text = "the other side is gone, or the kernel did only a part"
    message = f"cannot {step}: {call}: {text}" if call else f"cannot {step}: {text}"
    layers = _layer_failure(step, call, number, message)
    if layers is not None:
        return layers
    unsupported = _of_project(step, call, number, message)
    if unsupported is not None:
        return unsupported
    if number == errno.ENOSYS:
        return UnsupportedError(message, f"this kernel lacks {call}; see `substrate doctor`")
    return StepError(message, _hint(step, call, number), number)


def _of_project(step: str, call: str, number: int, message: str) -> UnsupportedError | None:
    """Return the error for a project that cannot be shown in layers, where that is why."""
    if step == MAP_PROJECT_IDS and number in NO_ID_MAPS:
        hint = (
            "its file system has no id-mapped mounts; give the project to an ordinary user, or"
            " allow a copy of it with --allow-degraded overlay, or host ids with"
            " --allow-degraded host-uid-0"
        )
        return IdMapsUnsupportedError(message, hint)
    is_overlay = step.startswith(STAGE_OVERLAY) or step.endswith(AN_OVERLAY)
    if is_overlay and call in _OF_MOUNTS and number in _NO_OVERLAY:
        return OverlayUnsupportedError(message, OVERLAY_HINT)
    return None


def _layer_failure(step: str, call: str, number: int, message: str) -> StepError | None:
    """Return the error for what the caller of a span can do something about."""
    if step == CHECK_AT_REST and number == errno.EBUSY:
        hint = "end the processes of the span before: substrate-runtime ps, kill"
        return LayerInUseError(message, hint, number)
    if step.startswith(MAKE_LAYER) and (call, number) == ("fsconfig", errno.EINVAL):
        return LayerNamesError(message, "substrate doctor", number)
    return None


def _hint(step: str, call: str, number: int) -> str:
    if call == "unshare" and number == errno.EPERM:
        return "user namespaces may be disabled: sysctl user.max_user_namespaces"
    if call == "unshare" and number == errno.ENOSPC:
        return "too many namespaces: sysctl -a | grep user.max_"
    if call == "setgroups" or (step.startswith("become ") and number == errno.EINVAL):
        return "the user or group is not in the id map; see linux.uidMappings"
    if call == "openat2" and number in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
        return "a symbolic link on the way may lead nowhere inside the root file system"
    if call == "fsmount" and step.startswith("mount proc"):
        return "the caller's own /proc is covered in part; see mount_namespaces(7)"
    return ""
