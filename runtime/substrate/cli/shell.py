"""`substrate`: read the command line and do one thing: a command, a script, a shell, or a verb.

The module of each is imported only when it is called; nothing here may import click.
"""

from __future__ import annotations

import gc
import os
import sys

from substrate import __version__
from substrate.cli.ending import INTERRUPTED, OUTPUT_CLOSED, EndedBySignal, prepare_process
from substrate.cli.front.calls import reporter
from substrate.cli.front.table import PROGRAM
from substrate.cli.parse import Arguments, parse_options, parse_verb, unknown_verb
from substrate.cli.terminal import OutputClosedError, flush, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from substrate.cli.grammar import Verb
    from substrate.cli.parse import Values

_HELP = "substrate.cli.front.help"


def main(words: Sequence[str]) -> int:
    """Carry out one command line, reporting any failure; return the exit status."""
    values: Values = {}
    try:
        status = _run(words, values)
        flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except EndedBySignal as ended:
        return 128 + ended.number
    except OutputClosedError:
        return OUTPUT_CLOSED
    except Exception as error:
        reporter.debug = values.get("debug") is True
        return reporter.failure(error)
    return status


def entry() -> NoReturn:
    """Be the executable."""
    gc.disable()
    prepare_process()
    status = main(sys.argv[1:])
    os._exit(status)


def call_verb(words: Sequence[str], given: Arguments) -> int:
    """Carry out a verb with the options that stood before another command line."""
    if not words or (verb := PROGRAM.verb_named(words[0])) is None:
        raise unknown_verb(PROGRAM, words[0] if words else "")
    return _call_verb(verb, words[1:], given.values())


def _run(words: Sequence[str], values: Values) -> int:
    shortcut, rest = parse_options(PROGRAM, words, values)
    if shortcut == "version":
        write(f"substrate version {__version__}\n")
        return 0
    if shortcut == "help":
        return _call(_HELP, Arguments("help", values))
    if "trace" in values:
        return _show_span(Arguments("", values))
    if "command" in values or not rest:
        return _call("substrate.cli.front.command", Arguments("", values, (), tuple(rest)))
    verb = PROGRAM.verb_named(rest[0])
    if verb is not None:
        return _call_verb(verb, rest[1:], values)
    if "/" in rest[0] or os.path.isfile(rest[0]):
        return _call("substrate.cli.front.command", Arguments("", values, (), tuple(rest)))
    raise unknown_verb(PROGRAM, rest[0])


def _show_span(arguments: Arguments) -> int:
    from substrate.cli.front.trace import show_span

    show_span(arguments, arguments.text("trace") or "")
    return 0


def _call_verb(verb: Verb, words: Sequence[str], values: Values) -> int:
    arguments = parse_verb(PROGRAM, verb, words, values)
    # `VERB --help` comes back as the verb `help`.
    return _call(verb.module if arguments.verb == verb.name else _HELP, arguments)


def _call(name: str, arguments: Arguments) -> int:
    module = __import__(name, fromlist=("run",))
    status: int = module.run(arguments)
    return status
