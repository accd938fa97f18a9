"""`ps ID`."""

from __future__ import annotations

import os

from substrate import jsontext
from substrate.cli.calls import context_of
from substrate.cli.terminal import printable, write
from substrate.errors import SubstrateError, WorldStateError
from substrate.world import state as states
from substrate.world.kill import world_processes
from substrate.world.listing import read_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    context = context_of(arguments)
    state = read_state(context, arguments.operands[0])
    if state.current_status not in (states.CREATED, states.RUNNING, states.PAUSED):
        message = f"container not running: {state.world_id} is {state.current_status}"
        raise WorldStateError(message, f"substrate-runtime state {state.world_id}")
    pids = world_processes(state, os.path.join(context.root, state.world_id))
    if arguments.flag("json") or arguments.text("format") == "json":
        write(jsontext.dumps(pids) + "\n")
        return 0
    from substrate.kernel.tools import find_program, run_program

    words = arguments.command or ("-f",)
    done = run_program([find_program("ps"), "-p", ",".join(map(str, pids)), *words])
    if done.status:
        text = done.stderr.decode(errors="replace").strip()
        message = f"ps failed: {text.splitlines()[0] if text else done.status}"
        raise SubstrateError(message, "--format json needs no ps(1)")
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
    write("\n".join(map(printable, lines)))
    return 0
