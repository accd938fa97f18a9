"""`substrate agent`: serve the session's world on a Unix socket."""

from __future__ import annotations

import gc
import os

from substrate.cli.doctor import probe
from substrate.cli.front.calls import context_of, reporter, spec_of, world_of
from substrate.errors import DependencyError, RefusedError
from substrate.world.context import prepare_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb: serve until a signal ends it."""
    try:
        from substrate.api.agent import Agent
        from substrate.api.listening import listen
    except ModuleNotFoundError as error:
        message = f"the agent needs the package {error.name}"
        raise DependencyError(message, "pip install h11") from None
    gc.enable()
    spec = spec_of(arguments)
    context = context_of(arguments)
    # While there is one thread only: probes fork.
    probes = [finding._asdict() for finding in probe()]
    world = world_of(arguments, stays=True)
    world.ensure_session(spec)
    prepare_directory(context.root)
    path = arguments.text("socket") or os.path.join(context.root, f"@agent-{spec.id}.sock")
    path = os.path.abspath(path)
    _check_outside(path, world.session.project)
    listening = listen(path)
    try:
        reporter.note(f"serving {world.session.project} at {path}")
        Agent(world, spec, probes).serve(listening)
    finally:
        os.unlink(path)
    return 0


def _check_outside(path: str, project: str) -> None:
    """Refuse a socket that the world could come to see."""
    place = os.path.realpath(os.path.dirname(path))
    if place == project or place.startswith(project.rstrip("/") + "/"):
        message = f"the socket {path} would be in the project, which the world sees"
        raise RefusedError(message, "leave --socket out")
