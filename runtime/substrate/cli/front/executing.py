"""One command in the session's world: in the foreground, or as one JSON result."""

from __future__ import annotations

import os
import sys

from substrate import jsontext
from substrate.api.capture import OUTPUT_BYTES, Capture
from substrate.api.codec import to_json
from substrate.api.onhost import Host
from substrate.api.records import DENY, WOULD_DENY
from substrate.cli.front.calls import (
    context_of,
    directory_in,
    environment_of,
    reporter,
    spec_of,
    timeout_of,
    world_of,
)
from substrate.cli.front.foreground import Foreground, OwnStreams, wants_terminal
from substrate.cli.front.summary import summary_line
from substrate.cli.terminal import has_colour, write
from substrate.errors import SubstrateError
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.api.inprocess import InProcessWorld
    from substrate.api.protocol import World
    from substrate.api.records import ExecRequest, ExecResult
    from substrate.cli.parse import Arguments

TIMED_OUT = 124


def execute(
    arguments: Arguments, request: ExecRequest, descriptors: dict[int, int] | None = None
) -> int:
    """Run a command and return the status to end in.

    `descriptors`: what the program has open beside its streams.
    """
    try:
        return _execute(arguments, request, descriptors)
    except SubstrateError as error:
        # 1 would be the command's own.
        error.status = reporter.own_failure if error.status == 1 else error.status
        raise


def _execute(arguments: Arguments, request: ExecRequest, descriptors: dict[int, int] | None) -> int:
    # Before anything is made: it may be wrong.
    request = replace(request, env=environment_of(arguments), timeout_s=timeout_of(arguments))
    if arguments.flag("no_world"):
        return _on_host(arguments, request)
    world = _ready_world(arguments)
    session = world.session
    request = replace(
        request,
        cwd=directory_in(session.project, session.directory),
        timeout_s=world.judge.timeout(request.timeout_s),
    )
    if arguments.flag("json"):
        return _as_json(world, request)
    request = replace(request, pty=wants_terminal())
    foreground = Foreground(request.timeout_s, budget=world.budget())
    result = complete(world, world.exec_attended(request, foreground, descriptors))
    tell(arguments, result, new_line=not foreground.at_line_start)
    return TIMED_OUT if result.timed_out else result.exit


def complete(world: World, result: ExecResult) -> ExecResult:
    """Return a result with what the command changed, asked for where the result does not say.

    When that cannot be told either, the result says why.
    """
    was_run = result.policy_decision is None or result.policy_decision.action != DENY
    if result.fs_diff is not None or not was_run:
        return result
    try:
        return replace(result, fs_diff=world.fs_diff(result.span_id))
    except (SubstrateError, OSError) as error:
        return replace(result, telemetry=(*result.telemetry, f"no diff of files: {error}"))


def tell(arguments: Arguments, result: ExecResult, *, new_line: bool = False) -> None:
    """Print what a person should know after a command: on a terminal, and one line at most.

    `new_line`: the command has left the terminal in the middle of a line.
    """
    for problem in result.telemetry:
        reporter.warn(problem)
    _tell_decision(result)
    for limit in () if result.resources is None else result.resources.limits_hit:
        if limit.fatal:
            reporter.warn(f"{limit.message} ({limit.hint})" if limit.hint else limit.message)
    if arguments.flag("quiet") or not sys.stderr.isatty():
        return
    line = summary_line(result, colour=has_colour(sys.stderr))
    if line:
        sys.stderr.write("\n" * new_line + line + "\n")
        sys.stderr.flush()


def _tell_decision(result: ExecResult) -> None:
    decision = result.policy_decision
    if decision is None or decision.action not in (DENY, WOULD_DENY):
        return
    where = f" ({decision.source})" if decision.source else ""
    said = "denied" if decision.action == DENY else "would be denied"
    reporter.tell(f"{said} by {decision.rule}{where}: {decision.reason}")


def _ready_world(arguments: Arguments) -> InProcessWorld:
    world = world_of(arguments)
    world.ensure_session(spec_of(arguments))
    return world


def _on_host(arguments: Arguments, request: ExecRequest) -> int:
    reporter.warn("this runs on the host itself: nothing is kept apart, nothing can be undone")
    project = spec_of(arguments).project_dir or ""
    policy = arguments.text("policy")
    host = Host(context_of(arguments).data, project, os.environ, policy)
    if not arguments.flag("json"):
        result = host.exec_attended(request, OwnStreams(request.timeout_s))
        tell(arguments, result)
        return TIMED_OUT if result.timed_out else result.exit
    capture = Capture(_given_input(), OUTPUT_BYTES, None, request.timeout_s)
    return _print_result(host.exec_attended(request, capture))


def _as_json(world: InProcessWorld, request: ExecRequest) -> int:
    stdin = _given_input().decode("utf-8", "surrogateescape")
    return _print_result(complete(world, world.exec(replace(request, stdin=stdin or None))))


def _given_input() -> bytes:
    """Return all of standard input, nothing of a terminal."""
    if os.isatty(0):
        return b""
    with open(0, "rb", closefd=False) as file:
        return file.read()


def _print_result(result: ExecResult) -> int:
    write(jsontext.dumps(to_json(result)) + "\n")
    return TIMED_OUT if result.timed_out else result.exit
