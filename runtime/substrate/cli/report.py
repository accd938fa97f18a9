"""Failures and warnings out: standard error, the log that engines read, the exit status.

The log has exactly one entry for a failure and none for a success: podman decodes the whole file
as one JSON object, so warnings stay out of a JSON log. Messages reach it unchanged, because
engines match their words (`does not exist`, `permission denied`); only characters that could
drive a terminal are escaped.

Nothing else prints errors. A verb raises, or calls `warn` for what was had in part.
"""

from __future__ import annotations

import os
import sys

from substrate.cli.terminal import has_colour, printable
from substrate.errors import SubstrateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_RED = "\x1b[1;31m"
_YELLOW = "\x1b[1;33m"
_PLAIN = "\x1b[0m"

# O_NOFOLLOW: the log of a root runtime may lie in a directory others can write. O_NONBLOCK: a
# fifo nobody reads is an error, not a wait.
_LOG_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_APPEND
    | os.O_CLOEXEC
    | os.O_NOFOLLOW
    | os.O_NOCTTY
    | os.O_NONBLOCK
)
# runc's callers name these, and they are symbolic links.
_STANDARD_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}


class Reporter:
    """Where one program reports to; `own_failure` is the status of an internal error.

    `spoken` is how its user calls a verb for a world: with `{verb}` and, where it is named, `{id}`.
    """

    def __init__(
        self, program: str, own_failure: int = 1, spoken: str = "substrate-runtime {verb} {id}"
    ) -> None:
        self.program = program
        self.spoken = spoken
        self.own_failure = own_failure
        self.log = ""
        self.log_is_json = False
        self.debug = False
        self._warned: set[str] = set()

    def configure(self, values: Mapping[str, object]) -> None:
        """Take the log and `--debug` from the global options read so far."""
        log = values.get("log")
        # crun's spelling of the same thing.
        self.log = log.removeprefix("file:") if isinstance(log, str) else ""
        self.log_is_json = values.get("log_format") == "json"
        self.debug = values.get("debug") is True

    def check_log(self) -> None:
        """Raise `SubstrateError` now if a failure could not be logged later.

        The log is not kept open: no descriptor of ours may stand in the way of --preserve-fds.
        """
        if self.log and self.log not in _STANDARD_STREAMS:
            log_fd = self._open_log()
            os.close(log_fd)

    def failure(self, error: BaseException) -> int:
        """Print and log an error; return the exit status it ends in."""
        message, hint, status = self._describe(error)
        if self.debug and not isinstance(error, SubstrateError):
            _print_traceback(error)
        self._print_lines(message, _RED)
        if hint:
            _write_error(f"hint: {printable(hint)}\n")
        try:
            self._append_to_log("error", message)
        except SubstrateError as log_error:
            # The first error may be this very one.
            if log_error.message != message:
                self._print_lines(log_error.message, _RED)
        return status

    def warn(self, message: str) -> None:
        """Print a warning, once however often it is given; a text log gets it too."""
        if message in self._warned:
            return
        self._warned.add(message)
        self._print_lines(message, _YELLOW, "warning: ")
        if not self.log_is_json:
            self._append_to_log("warning", message)

    def note(self, message: str) -> None:
        """Print one line of news that is no failure and no warning."""
        self._print_lines(message, "")

    def tell(self, message: str) -> None:
        """Print one line about what was decided; it is neither a failure nor a warning."""
        self._print_lines(message, _RED)

    def command(self, verb: str, world_id: str) -> str:
        """Return what a person types who uses this program, for a verb and a world."""
        return self.spoken.format(verb=verb, id=world_id)

    def detail(self, message: str) -> None:
        """Print what `--debug` asks for."""
        self._print_lines(message, "")

    def _describe(self, error: BaseException) -> tuple[str, str, int]:
        if isinstance(error, SubstrateError):
            return error.message, error.hint, error.status
        if isinstance(error, OSError) and error.strerror:
            names = [_text(name) for name in (error.filename, error.filename2) if name is not None]
            hint = _room_hint(error) or self._debug_hint("where it happened")
            return ": ".join([*names, error.strerror]), hint, 1
        message = f"internal error: {type(error).__name__}: {error}"
        return message, self._debug_hint("the traceback to report"), self.own_failure

    def _debug_hint(self, what: str) -> str:
        return "" if self.debug else f"`{self.program} --debug …` shows {what}"

    def _print_lines(self, text: str, colour: str, label: str = "") -> None:
        # Every line carries the program's name: engines mix our lines with others'.
        start, end = (colour, _PLAIN) if has_colour(sys.stderr) else ("", "")
        for line in text.split("\n"):
            _write_error(f"{start}{self.program}:{end} {label}{printable(line)}\n")

    def _append_to_log(self, level: str, message: str) -> None:
        if not self.log:
            return
        entry = self._log_entry(level, message)
        stream = _STANDARD_STREAMS.get(self.log)
        log_fd = self._open_log() if stream is None else stream
        try:
            # One write, so that entries of several processes never mix.
            os.write(log_fd, entry.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise self._log_error(error) from None
        finally:
            if stream is None:
                os.close(log_fd)

    def _log_entry(self, level: str, message: str) -> str:
        # Imported only on the way to an entry: nothing is logged on success.
        import time

        from substrate import jsontext

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.log_is_json:
            return jsontext.dumps({"level": level, "msg": message, "time": now}) + "\n"
        quoted = message.replace("\\", "\\\\").replace('"', '\\"')
        return f'time="{now}" level={level} msg="{printable(quoted)}"\n'

    def _open_log(self) -> int:
        try:
            return os.open(self.log, _LOG_FLAGS, 0o600)
        except (OSError, ValueError) as error:
            raise self._log_error(error) from None

    def _log_error(self, error: OSError | ValueError) -> SubstrateError:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return SubstrateError(
            f"cannot write the log {self.log}: {reason}",
            f"{self.program} --log FILE … with a file that is no link, in a directory you own",
        )


reporter = Reporter("substrate-runtime")


def warn(message: str) -> None:
    """Tell the person, once, of something that was had only in part."""
    reporter.warn(message)


def _room_hint(error: OSError) -> str:
    import errno

    if error.errno == errno.EDQUOT:
        return "`quota -v` shows whose quota is full"
    full = error.errno == errno.ENOSPC
    return "`df -h` and `df -i` show which file system is full" if full else ""


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # Standard error is closed or was never there. The log and the status remain.
        return


def _print_traceback(error: BaseException) -> None:
    # traceback costs 10 ms to import.
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        _write_error(printable(line) + "\n")
