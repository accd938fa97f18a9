"""`run ID [COMMAND…]`."""

from __future__ import annotations

from substrate.cli.calls import context_of, timings_printer
from substrate.cli.report import warn
from substrate.cli.verbs.create import request_of
from substrate.world import run as running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    return running.run(
        context_of(arguments),
        request_of(arguments, listening=False, attended=not arguments.flag("detach")),
        warn,
        running.Manner(
            detach=arguments.flag("detach"),
            keep=arguments.flag("keep"),
            pid_file=arguments.text("pid_file"),
            console_socket=arguments.text("console_socket"),
        ),
        timings_printer(arguments),
    ).status
