"""`substrate run -- ARGV…`."""

from __future__ import annotations

from substrate.api.records import ExecRequest
from substrate.cli.front.executing import execute
from substrate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Carry out the verb."""
    if not arguments.command:
        message = "run: there is nothing to run"
        raise UsageError(message, "substrate run -- PROGRAM [ARG…]")
    return execute(arguments, ExecRequest(argv=arguments.command))
