"""What a session's world offers, wherever it is: in this process, or behind an agent's socket."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.api.records import ExecRequest, ExecResult, Scope, WorldSpec
    from substrate.filesystem.entries import FsDiff

    OnOutput = Callable[[str, bytes], None]


class World(Protocol):
    """One session: a world that runs commands and tells what they did.

    Every method raises `SubstrateError` with what went wrong and a way out.
    """

    def ensure_session(self, spec: WorldSpec) -> str:
        """Make the world, or find it running; return its id."""
        ...

    def exec(self, request: ExecRequest, on_output: OnOutput | None = None) -> ExecResult:
        """Run a command to its end. `on_output` gets ("stdout" or "stderr", bytes) as it comes.

        A denied command is a result with status 126 and the decision, and no error.
        """
        ...

    def cancel(self, span_id: str, signal: int = 15) -> bool:
        """Send a signal to a running command of this session; False when it does not run.

        May be called from another thread than `exec`.
        """
        ...

    def fs_diff(self, span_id: str) -> FsDiff:
        """Return what a span changed."""
        ...

    def scopes(self, span_id: str) -> tuple[Scope, ...]:
        """Return the remote endpoints a span used."""
        ...

    def apply_policy(self) -> None:
        """Read the policy again; it holds from the next command on."""
        ...

    def destroy(self) -> None:
        """End the world and all that runs in it. Its changes are gone with it."""
        ...
