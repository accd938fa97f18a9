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
from substrate.isolation.entering import EnteredWorld, exec_sequence, hook_sequence
from substrate.kernel import messages
from substrate.kernel.spawn import sealed_memfd
from substrate.record import record, replace
from substrate.world.hooks import hook_failure
from substrate.world.joining import Entrance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from substrate.bundle.model import Hook, Process
    from substrate.isolation.lowering import Step
    from substrate.isolation.spec import Filter
    from substrate.world.state import State


@record
class InnerHooks:
    """A world whose hooks are run: `owner` is its state directory."""

    state: State
    owner: str
    executor: str

    def run_container_hooks(self, hooks: Iterable[Hook]) -> None:
        """Run createContainer hooks: host programs, in the namespaces of a world being made."""
        for hook in hooks:
            args, env, path = hook.args or (hook.path,), hook.env, hook.path
            root_fd = os.open(f"/proc/{self.state.pid}/root", os.O_PATH | os.O_CLOEXEC)
            try:
                with Entrance(self.state, self.owner) as entrance:
                    steps = hook_sequence(self._entered(entrance), args, env, path)
                    _run("createContainer", hook, self, steps, entrance, {"root": root_fd})
            finally:
                os.close(root_fd)

    def run_start_hooks(
        self, hooks: Iterable[Hook], process: Process, seccomp: Filter | None
    ) -> None:
        """Run startContainer hooks: the world's own programs, as its payload would run them."""
        for hook in hooks:
            args = hook.args or (hook.path,)
            payload = replace(process, args=args, env=hook.env, terminal=False)
            with Entrance(self.state, self.owner) as entrance:
                steps = exec_sequence(
                    payload, self._entered(entrance), seccomp, path=hook.path, takes_input=True
                )
                _run("startContainer", hook, self, steps, entrance, {})

    def _entered(self, entrance: Entrance) -> EnteredWorld:
        state = self.state
        return EnteredWorld(state.namespaces, state.may_set_groups, entrance.into_cgroup)


def _run(
    name: str, hook: Hook, world: InnerHooks, steps: Iterable[Step], entrance: Entrance,
    inputs: dict[str, int],
) -> None:  # fmt: skip
    state = world.state
    # A file, not a pipe: a hook that does not read its input must not block us.
    stdin = sealed_memfd("state", jsontext.dumps(state.to_oci()).encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    try:
        inputs = entrance.inputs | inputs | {"stdin": stdin}
        talk = Conversation(compile_plan(steps), inputs, world.executor)
    finally:
        os.close(stdin)
    try:
        if "pid" in state.namespaces or "time" in state.namespaces:
            talk.follow_fork()
        entrance.bring_in(talk.pid)
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
