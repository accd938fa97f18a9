"""`substrate mcp`: the session's world as tools of the Model Context Protocol, on standard streams.

The names and descriptions here are read by models, which act on them: they promise what holds.
"""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

from substrate import __version__
from substrate.api.codec import to_json
from substrate.api.records import ExecRequest
from substrate.cli.front.calls import spec_of, timeout_of, world_of
from substrate.cli.front.executing import complete
from substrate.errors import DependencyError, SubstrateError
from substrate.policy.explain import why
from substrate.trace.ids import new_span_id

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from substrate.api.inprocess import InProcessWorld
    from substrate.cli.parse import Arguments

_INSTRUCTIONS = """\
Commands run in a world: an isolated container that shows the project's real files and the host's
real programs, without a network. Every change to the project is kept apart from the real files
until a person accepts it. A result lists exactly which paths a command changed. Only the project
directory keeps changes: other writable directories are temporary."""

_RUN = """\
Run a command in the world and return its exit status, output and the paths it changed.
`command` is a bash text. Each call is a fresh bash that starts in the project's directory, or in
`cwd`: changes to files persist between calls, `cd`, variables and functions do not. Status 126
with a policy_decision of `deny` means that the policy forbids the command: it did not run. Long
output is cut; `truncated` says so. Background processes live on until the session ends."""
_DIFF = """\
Return everything that the session has changed in the project and that is not in the real files,
or only what is at and below `paths` (relative to the project)."""
_CHANGED = "Return exactly what one command changed, by the span_id of its result."
_ACCEPT = """\
Apply changes of the session to the person's real files: all of them, or those at and below
`paths`. All or nothing: when a file was also changed outside, or a change is risky (git hooks, CI
files, set-id bits: only a person may accept these), nothing is applied and the error says why.
Ask the person first unless they have told you to."""
_UNDO = """\
Take the last accept back: the real files become what they were before it, and what was accepted is
a change of the session again. Refused when they have been changed since."""
_WHY = """\
Return what the policy says about a bash text, with the rule and the file it stands in, without
running it."""

_OUTPUT_BYTES = 50_000


def run(arguments: Arguments) -> int:
    """Carry out the verb: serve until the client closes standard input."""
    try:
        from mcp.server import MCPServer
    except ImportError:
        message = "the MCP server needs the package mcp, version 2 or newer"
        raise DependencyError(message, "pip install 'substrate-worlds[mcp]'") from None
    gc.enable()
    world = world_of(arguments, stays=True)
    world.ensure_session(spec_of(arguments))
    server: MCPServer[Any] = MCPServer(
        "substrate", instructions=_INSTRUCTIONS, version=__version__, log_level="CRITICAL"
    )
    add_tools(server, _Tools(world, timeout_of(arguments)))
    server.run("stdio")
    return 0


def add_tools(server: MCPServer[Any], tools: _Tools) -> None:
    """Give the server its tools."""
    from mcp.types import ToolAnnotations

    looks = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    runs = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    server.tool("run", description=_RUN, annotations=runs)(tools.run)
    server.tool("diff", description=_DIFF, annotations=looks)(tools.diff)
    server.tool("what_changed", description=_CHANGED, annotations=looks)(tools.what_changed)
    applies = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
    server.tool("accept", description=_ACCEPT, annotations=applies)(tools.accept)
    server.tool("undo", description=_UNDO, annotations=applies)(tools.undo)
    server.tool("why", description=_WHY, annotations=looks)(tools.why)


class _Tools:
    """What each tool does; an error of ours is told to the model with its way out."""

    def __init__(self, world: InProcessWorld, timeout_s: float | None) -> None:
        self._world = world
        self._timeout_s = timeout_s

    async def run(
        self,
        command: str,
        cwd: str | None = None,
        timeout_s: float | None = None,
        stdin: str | None = None,
    ) -> dict[str, Any]:
        """Run a command; the model's cancelling ends it."""
        import anyio

        request = ExecRequest(
            command=command,
            cwd=self._directory(cwd),
            stdin=stdin,
            span_id=new_span_id(),
            timeout_s=timeout_s or self._timeout_s,
            output_bytes=_OUTPUT_BYTES,
        )
        try:
            return await anyio.to_thread.run_sync(self._exec, request, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            self._world.cancel(request.span_id or "", 9)
            raise

    def diff(self, paths: list[str] | None = None) -> dict[str, Any]:
        """Return what the session changed."""
        return _told(lambda: to_json(self._world.changes(tuple(paths or ()))))

    def what_changed(self, span_id: str) -> dict[str, Any]:
        """Return what one command changed."""
        return _told(lambda: to_json(self._world.fs_diff(span_id)))

    def accept(self, paths: list[str] | None = None) -> dict[str, Any]:
        """Apply changes to the real files."""
        return _told(lambda: to_json(self._world.accept(tuple(paths or ()))))

    def undo(self) -> dict[str, Any]:
        """Take the last accept back."""
        return _told(lambda: {"paths": list(self._world.undo())})

    def why(self, command: str) -> dict[str, Any]:
        """Return what the policy says."""
        return _told(lambda: why(self._world.judge.policy, command))

    def _exec(self, request: ExecRequest) -> dict[str, Any]:
        return _told(lambda: to_json(complete(self._world, self._world.exec(request))))

    def _directory(self, cwd: str | None) -> str | None:
        if cwd is None or os.path.isabs(cwd):
            return cwd
        return os.path.normpath(os.path.join(self._world.session.directory, cwd))


def _told(act: Any) -> dict[str, Any]:
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        found: dict[str, Any] = act()
    except SubstrateError as error:
        hint = f" (hint: {error.hint})" if error.hint else ""
        raise ToolError(error.message + hint) from None
    return found
