"""Hooks on the host: programs that are given the world's state on standard input.

prestart, createRuntime, poststart and poststop run here; see runtime-spec config.md, "Hooks".
Those that run inside the world are in `inner_hooks.py`.
"""

from __future__ import annotations

from substrate import jsontext
from substrate.errors import SubstrateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from substrate.bundle.model import Hook
    from substrate.world.state import State


def run_host_hooks(name: str, hooks: Iterable[Hook], state: State) -> None:
    """Run hooks on the host, in order; raises `SubstrateError` at the first that fails."""
    for hook in hooks:
        # Loaded when there is a hook: subprocess costs more than a whole verb.
        from substrate.kernel.tools import run_program
        from substrate.world.overrides import environment_values

        try:
            done = run_program(
                hook.args or (hook.path,),
                program=hook.path,
                stdin=jsontext.dumps(state.to_oci()).encode(),
                env=environment_values(hook.env),
                timeout_s=hook.timeout_s,
            )
        except OSError as error:
            raise hook_failure(name, hook, error.strerror or str(error)) from None
        if done.timed_out:
            raise hook_failure(name, hook, f"still running after {hook.timeout_s} s")
        if done.status:
            text = done.stderr.decode(errors="replace").strip()
            raise hook_failure(name, hook, f"exit status {done.status}" + (text and f": {text}"))


def run_late_hooks(
    name: str, hooks: Iterable[Hook], state: State, warn: Callable[[str], None]
) -> None:
    """Run hooks that nothing depends on any more; one that fails is a warning."""
    for hook in hooks:
        try:
            run_host_hooks(name, (hook,), state)
        except SubstrateError as error:
            warn(error.message)


def hook_failure(name: str, hook: Hook, what: str) -> SubstrateError:
    """Return the error for a hook that failed."""
    return SubstrateError(f"the {name} hook {hook.path} failed: {what}")
