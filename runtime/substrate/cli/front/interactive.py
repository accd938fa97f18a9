"""The interactive shell: read a command, run it as a span of the session, tell what it changed.

The shell's own state is data (`shellstate.py`); each command is a fresh bash on a terminal of its
own. Words that begin with a colon are for this program: `:diff` is `substrate diff`.
"""

from __future__ import annotations

import gc
import os

from substrate.api.records import ExecRequest
from substrate.cli.front.calls import (
    directory_in,
    environment_of,
    reporter,
    spec_of,
    timeout_of,
    world_of,
)
from substrate.cli.front.executing import complete, tell
from substrate.cli.front.foreground import Foreground
from substrate.cli.front.handover import Handover
from substrate.cli.front.jobs import Jobs
from substrate.cli.front.shellstate import STATE_FILE, Report, ShellState, still_unread
from substrate.cli.terminal import OutputClosedError, printable, printable_lines, write
from substrate.errors import StepError, SubstrateError, UsageError
from substrate.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.api.inprocess import InProcessWorld
    from substrate.api.records import ExecResult
    from substrate.cli.parse import Arguments


def converse(arguments: Arguments) -> int:
    """Be the interactive shell; return the status of its last command."""
    if arguments.flag("json"):
        message = "--json needs a command: an interactive shell has no one result"
        raise UsageError(message, "substrate --json -c COMMAND")
    gc.enable()
    reporter.spoken = ":{verb}"
    world = world_of(arguments, stays=True)
    world.ensure_session(spec_of(arguments))
    shell = Shell(arguments, world)
    from substrate.cli.front.editor import Editor

    editor = Editor(shell, world)
    write(editor.greeting())
    while not shell.has_left:
        write(shell.news())
        line = editor.read()
        if line is None:
            shell.leave()
        elif line.strip():
            shell.typed = editor.take_typed()
            shell.take(line)
            editor.give_typed(shell.typed)
    return shell.state.status


class Shell:
    """One conversation: the state that commands leave, and what goes on in the background."""

    def __init__(self, arguments: Arguments, world: InProcessWorld) -> None:
        self._arguments = arguments
        self._world = world
        session = world.session
        start = directory_in(session.project, session.directory) or session.directory
        self.state = ShellState(start)
        self.jobs = Jobs()
        self.last: ExecResult | None = None
        self.has_left = False
        # What was typed while nobody asked for it: for the next command, or the next prompt.
        self.typed = ""
        self._was_warned = False

    def news(self) -> str:
        """Return what is to be said before a prompt: which jobs have ended."""
        self.jobs.refresh()
        # Its commands are the payload's text, and this is the person's terminal.
        return printable_lines(self.jobs.notices())

    def leave(self) -> None:
        """Leave, at once or, when there are stopped jobs, the second time."""
        stopped = any(job.is_stopped for job in self.jobs.all())
        if stopped and not self._was_warned:
            # They end with their terminals, and those with us.
            write("There are stopped jobs.\n")
            self.has_left, self._was_warned = False, True
            return
        self.has_left = True

    def take(self, line: str) -> None:
        """Carry out what was typed; a failure is reported and ends nothing."""
        try:
            if line.lstrip().startswith(":") and line.lstrip()[1:2].isalpha():
                self._own(line.lstrip()[1:])
            else:
                self._run(line)
        except KeyboardInterrupt:
            self.state = replace(self.state, status=130)
        except (SubstrateError, OSError) as error:
            self.state = replace(self.state, status=reporter.failure(error))

    def _run(self, line: str) -> None:
        try:
            self._run_in(line, self.state.directory)
        except StepError as error:
            directory = self._world.session.directory
            if "enter" not in error.message or self.state.directory == directory:
                raise
            reporter.warn(f"{printable(self.state.directory)} is gone: {error.message}")
            self._run_in(line, directory)

    def _run_in(self, line: str, directory: str) -> None:
        # It may have been changed since the last command.
        self._world.apply_policy()
        self.jobs.refresh()
        budget = self._world.budget()
        with Handover(self.state, self.jobs, budget) as handover:
            request = ExecRequest(
                command=line,
                cwd=directory,
                env=(*environment_of(self._arguments), ("BASH_ENV", STATE_FILE)),
                pty=True,
                timeout_s=self._world.judge.timeout(timeout_of(self._arguments)),
            )
            typed, self.typed = os.fsencode(self.typed), ""
            foreground = Foreground(request.timeout_s, handover, budget, typed)
            result = self._world.exec_attended(
                request,
                foreground,
                handover.descriptors,
                definitions=self.state.definitions(),
                settings={"shell": self.state.to_json()},
            )
            report = handover.finish()
            if report is not None:
                self.typed = still_unread(report.typed, foreground.given)
            # What the command has shown must not be written over by the prompt.
            write("\n" * (not foreground.at_line_start))
            write(handover.leave_to_jobs(foreground.left_running))
        self._take_over(result, report, goes_on=foreground.left_running is not None)

    def _take_over(self, result: ExecResult, report: Report | None, *, goes_on: bool) -> None:
        status = result.exit
        if goes_on:
            status = 0 if report is None else report.state.status
        if report is not None:
            self.state = report.state
            if report.has_left:
                self.leave()
            else:
                self._was_warned = False
        self.state = replace(self.state, status=status)
        self.last = complete(self._world, result)
        tell(self._arguments, self.last)

    def _own(self, line: str) -> None:
        """Carry out `:VERB …` as `substrate VERB …` with the options of this shell."""
        import shlex

        from substrate.cli.shell import call_verb

        try:
            words = shlex.split(line)
        except ValueError as error:
            message = f"cannot read {line!r}: {error}"
            raise UsageError(message) from None
        try:
            self.state = replace(self.state, status=call_verb(words, self._arguments))
        except OutputClosedError:
            return
