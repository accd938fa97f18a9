"""`substrate-runtime`: read the command line, run one verb, report, exit.

The module of a verb is imported only when that verb runs; nothing here may import click.
"""

from __future__ import annotations

import gc
import os
import sys

from substrate import __version__
from substrate.cli import options
from substrate.cli.ending import INTERRUPTED, OUTPUT_CLOSED, EndedBySignal, prepare_process
from substrate.cli.parse import Arguments, parse
from substrate.cli.report import reporter
from substrate.cli.terminal import OutputClosedError, flush, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from substrate.cli.parse import Values

# Where each verb is carried out; every module has `run(arguments: Arguments) -> int`.
VERBS = {verb.name: verb.module for verb in options.VERBS}

# The version of the OCI runtime specification that config.json and `state` follow.
SPEC_VERSION = "1.2.0"


def main(words: Sequence[str]) -> int:
    """Carry out one command line, reporting any failure; return the exit status."""
    values: Values = {}
    try:
        arguments = parse(options.RUNTIME, words, values)
        reporter.configure(values)
        reporter.check_log()
        status = run(arguments)
        flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except EndedBySignal as ended:
        return 128 + ended.number
    except OutputClosedError:
        # `… | head` has seen enough: what a shell reports of a program that SIGPIPE ended.
        # SIGPIPE itself stays ignored, or a lost peer would end us halfway through a world.
        return OUTPUT_CLOSED
    except Exception as error:
        # Again: when the command line itself is wrong, the log may have been read before that.
        reporter.configure(values)
        return reporter.failure(error)
    return status


def run(arguments: Arguments) -> int:
    """Run the verb the arguments name and return its exit status."""
    if arguments.verb == "version":
        _print_version(as_json=arguments.flag("json"))
        return 0
    # Not importlib.import_module: `import importlib` loads `warnings`.
    module = __import__(VERBS[arguments.verb], fromlist=("run",))
    status: int = module.run(arguments)
    return status


def entry() -> NoReturn:
    """Be the executable."""
    # A call lives for milliseconds; a collection in it only costs.
    gc.disable()
    prepare_process()
    status = main(sys.argv[1:])
    # Skips the interpreter's own teardown, 0.3 ms; main has flushed standard output.
    os._exit(status)


def _print_version(as_json: bool) -> None:
    if as_json:
        from substrate import jsontext

        write(jsontext.dumps({"version": __version__, "spec": SPEC_VERSION}) + "\n")
    else:
        write(f"{options.PROGRAM} version {__version__}\nspec: {SPEC_VERSION}\n")
