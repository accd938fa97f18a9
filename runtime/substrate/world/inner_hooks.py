"""Hooks inside a world: createContainer and startContainer.

createContainer is a program of the host, run in the world's namespaces before pivot_root;
startContainer is one of the world's own programs, so it runs with the payload's rights and no
more. See runtime-spec config.md, "Hooks".
"""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.errors import SubstrateError
from substrate.isolation.conversation import Conversation, compile_plan, end
from substrate.isolation.entering import exec_sequence, hook_sequence
from substrate.kernel import messages
from substrate.kernel.spawn import sealed_memfd
from substrate.record import replace
from substrate.world.hooks import hook_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.bundle.model import Hook, Process
    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import Filter
    from substrate.world.state import State


def run_container_hooks(hooks: Iterable[Hook], state: State, executor: str) -> None:
    """Run createContainer hooks: host programs, in the namespaces of a world being made."""
    for hook in hooks:
        root_fd = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_CLOEXEC)
        try:
            steps = hook_sequence(state.namespaces, hook.args or (hook.path,), hook.env, hook.path)
            _run_inside("createContainer", hook, steps, state, executor, {"root": root_fd})
        finally:
            os.close(root_fd)


def run_start_hooks(
    hooks: Iterable[Hook], state: State, process: Process, seccomp: Filter | None, executor: str
) -> None:
    """Run startContainer hooks: the world's own programs, as its payload would run them."""
    for hook in hooks:
        payload = replace(process, args=hook.args or (hook.path,), env=hook.env, terminal=False)
        steps = exec_sequence(
            payload, state.namespaces, state.may_set_groups, seccomp,
            path=hook.path, takes_input=True,
        )  # fmt: skip
        _run_inside("startContainer", hook, steps, state, executor, {})


def _run_inside(
    name: str, hook: Hook, steps: Iterable[Step], state: State, executor: str,
    inputs: dict[str, int],
) -> None:  # fmt: skip
    # A file, not a pipe: a hook that does not read its input must not block us.
    stdin = sealed_memfd("state", jsontext.dumps(state.to_oci()).encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    world = os.pidfd_open(state.pid)
    try:
        talk = Conversation(
            compile_plan(steps), inputs | {"world": world, "stdin": stdin}, executor
        )
    finally:
        os.close(world)
        os.close(stdin)
    try:
        if "pid" in state.namespaces or "time" in state.namespaces:
            talk.follow_fork()
        talk.expect(messages.READY)
        talk.go()
        talk.wait_for_exec()
        status = _wait(talk.pid, hook.timeout_s)
    except SubstrateError as error:
        end(talk)
        raise hook_failure(name, hook, error.message) from None
    talk.close()
    if status is None:
        end(talk)
        raise hook_failure(name, hook, f"still running after {hook.timeout_s} s")
    if status:
        raise hook_failure(name, hook, f"exit status {status}")


def _wait(pid: int, timeout_s: int | None) -> int | None:
    """Return the exit status of a child, None when it still runs after the time."""
    if timeout_s is not None:
        import select

        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(timeout_s * 1000):
                return None
        finally:
            os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
