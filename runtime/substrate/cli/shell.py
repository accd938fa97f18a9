"""`substrate`: the executable for people.

In this version it examines the machine. It runs nothing yet, and says so: a word it does not know
is a usage error, never a command that would run outside a world.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from substrate import __version__
from substrate.cli.report import Reporter
from substrate.cli.terminal import OutputClosedError, flush
from substrate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    import click

_HINT = "substrate --help lists what there is; substrate-runtime --help has the verbs for bundles"


def main(words: Sequence[str]) -> int:
    """Carry out one command line, reporting any failure; return the exit status."""
    # 125 is ours, as in env(1) and docker: every other status may be a command's own.
    reporter = Reporter("substrate", own_failure=125)
    try:
        status = _run(words)
        flush()
    except KeyboardInterrupt:
        return 128 + 2
    except OutputClosedError:
        return 128 + 13
    except Exception as error:
        return reporter.failure(error)
    return status


def entry() -> NoReturn:
    """Be the executable."""
    status = main(sys.argv[1:])
    os._exit(status)


def program() -> click.Group:
    """Return the command line of `substrate` as click commands."""
    import click

    group = click.Group(
        "substrate",
        help="Run a command one does not trust in a world, and see exactly what it changed.\n\n"
        "This version examines the machine only; worlds are run by substrate-runtime.",
        no_args_is_help=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    click.version_option(__version__, "--version", prog_name="substrate")(group)

    @group.command(short_help="Examine what this machine can do")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
    def doctor(as_json: bool) -> int:
        """Try everything a world needs from this machine and say what is missing.

        The exit status is 0 when all the default bundle needs is there, and 4 otherwise.
        """
        from substrate.cli.doctor import examine

        return examine(as_json)

    # The decorators above have put it into the group.
    del doctor
    return group


def _run(words: Sequence[str]) -> int:
    import click

    try:
        status = program().main(list(words), "substrate", standalone_mode=False)
    except click.UsageError as error:
        message = error.format_message()
        raise UsageError(message[:1].lower() + message[1:].rstrip("."), _HINT) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError as error:
        raise OutputClosedError(*error.args) from None
    # What the subcommand returned, or click's own status after --help.
    return status if isinstance(status, int) else 0
