"""`substrate -c COMMAND`, a script by name or as standard input, or the interactive shell."""

from __future__ import annotations

import os

from substrate.api.records import ExecRequest
from substrate.cli.front.executing import execute
from substrate.errors import CommandNotFoundError, UsageError
from substrate.kernel.spawn import sealed_memfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cli.parse import Arguments

SCRIPT_FD = 30


def run(arguments: Arguments) -> int:
    """Do what the command line without a verb asks for."""
    text = arguments.text("command")
    words = arguments.command
    if text is not None:
        if words:
            return execute(arguments, ExecRequest(argv=("bash", "-c", text, *words)))
        return execute(arguments, ExecRequest(command=text))
    if words:
        return _run_script(arguments, words)
    if os.isatty(0) and os.isatty(1):
        if arguments.flag("no_world"):
            message = "an interactive shell is always in a world"
            raise UsageError(message, "substrate --no-world -c COMMAND, or bash")
        from substrate.cli.front.interactive import converse

        return converse(arguments)
    # Read by bash itself, so that a command in it may read what follows.
    return execute(arguments, ExecRequest(argv=("bash",)))


def _run_script(arguments: Arguments, words: tuple[str, ...]) -> int:
    try:
        with open(words[0], "rb") as file:
            text = file.read()
    except OSError as error:
        message = f"cannot read the script {words[0]}: {error.strerror}"
        hint = "substrate run -- PROGRAM … runs a program"
        raise CommandNotFoundError(message, hint) from None
    # Its text as it is now, and not its name: the world need not have the file.
    script = sealed_memfd("script", text)
    try:
        request = ExecRequest(argv=("bash", f"/dev/fd/{SCRIPT_FD}", *words[1:]))
        return execute(arguments, request, {SCRIPT_FD: script})
    finally:
        os.close(script)
