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
from substrate.cli.front.jobs import Jobs
from substrate.cli.front.shellstate import (
    LONGEST_REPORT,
    REPORT_FD,
    STATE_FD,
    STATE_FILE,
    Report,
    ShellState,
    read_report,
)
from substrate.cli.terminal import OutputClosedError, printable, write
from substrate.errors import StepError, SubstrateError, UsageError
from substrate.record import replace
from substrate.world.console import Listener

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
    world = world_of(arguments)
    world.ensure_session(spec_of(arguments))
    shell = Shell(arguments, world)
    from substrate.cli.front.editor import Editor

    editor = Editor(shell, world)
    write(editor.greeting())
    while not shell.has_left:
        line = editor.read()
        if line is None:
            break
        if line.strip():
            shell.take(line)
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
        with _Handover(self.state) as handover:
            request = ExecRequest(
                command=line,
                cwd=directory,
                env=(*environment_of(self._arguments), ("BASH_ENV", STATE_FILE)),
                pty=True,
                timeout_s=self._world.judge.timeout(timeout_of(self._arguments)),
            )
            foreground = Foreground(request.timeout_s, handover, self._world.budget())
            result = self._world.exec_attended(
                request,
                foreground,
                handover.descriptors,
                definitions=self.state.definitions(),
                settings={"shell": self.state.to_json()},
            )
            report = handover.finish()
        self._take_over(result, report, foreground)

    def _take_over(self, result: ExecResult, report: Report | None, foreground: Foreground) -> None:
        status = result.exit
        if foreground.left_running is not None:
            status = 0 if report is None else report.state.status
            self.jobs.take(foreground.left_running)
        if report is not None:
            self.state = report.state
            self.has_left = report.has_left
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


class _Handover(Listener):
    """The descriptors by which one shell's state goes in and comes out."""

    def __init__(self, state: ShellState) -> None:
        self._state = state
        self._data = bytearray()
        self._report: Report | None = None
        self.descriptors: dict[int, int] = {}

    def __enter__(self) -> _Handover:
        self.fd, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        self.descriptors = {STATE_FD: self._state.begin(), REPORT_FD: writing}
        return self

    def __exit__(self, *_details: object) -> None:
        for fd in (self.fd, *self.descriptors.values()):
            os.close(fd)

    def hear(self) -> bool:
        """Take what the shell wrote; True when it has handed over."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return False
        # Whoever writes without end is read without end, and not kept.
        if len(self._data) <= LONGEST_REPORT:
            self._data += data
        if self._report is None:
            self._report = read_report(bytes(self._data))
        return self._report is not None

    def finish(self) -> Report | None:
        """Return what was handed over, None when the shell could not."""
        while self._report is None:
            before = len(self._data)
            self.hear()
            if len(self._data) == before:
                break
        return self._report
