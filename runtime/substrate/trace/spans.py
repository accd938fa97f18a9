"""The exact request of a span in a file of its own, and the line that is shipped instead.

A span record has what a replay needs: the words, environment and settings, unredacted. It is a
file of mode 0600 below the trace's directory that is written once, before the command runs. The
trace line carries its digest, so that a record that was changed or exchanged is noticed.
"""

from __future__ import annotations

import os

from substrate.digests import sha256_of
from substrate.errors import SpanNotFoundError, TraceError, TraceWriteError, UsageError
from substrate.jsontext import dumps, dumps_line, loads
from substrate.kernel.blanks import make_blank
from substrate.record import record
from substrate.trace.digests import argv_sha256
from substrate.trace.directory import open_folder_in, open_own, write_new
from substrate.trace.events import CommandStart, PolicyEvent
from substrate.trace.ids import checked_span_id
from substrate.trace.redact import NO_RULES, redact_argv, redact_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from substrate.trace.events import Decision, Origin
    from substrate.trace.redact import Rules

# One for all records: file systems index names themselves.
FOLDER = "spans"
VERSION = 1
# A line stays below 64 KiB: what does not fit is in the span record.
LONGEST_ARGV = 32 << 10
LONGEST_CMD = 16 << 10
# What a command gets of its caller's environment unless somebody names more: how to find
# programs, talk and count time. None of them holds a secret.
ALLOWED_NAMES = frozenset(
    (
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ",
        "PWD", "TMPDIR", "EDITOR", "PAGER", "NO_COLOR", "COLUMNS", "LINES", "TRACEPARENT",
        "TRACESTATE",
    )
)  # fmt: skip


@record
class Request:
    """What exactly is asked of a world. `env` is the whole environment of the command.

    `stdin_sha256` and `stdin_bytes` are set when standard input was given as a whole; `settings`
    is what else a replay needs (bundle, limits, policy), as JSON.
    """

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    umask: int | None = None
    cmd: str | None = None
    pty: bool = False
    timeout_s: float | None = None
    stdin_kind: str = "none"
    stdin_sha256: str | None = None
    stdin_bytes: int | None = None
    settings: dict[str, Any] | None = None


def allowed_environment(
    environment: Mapping[str, str], names: Iterable[str] = ()
) -> dict[str, str]:
    """Return the variables on the allow list, the locale's, and those named, sorted by name."""
    allowed = ALLOWED_NAMES | set(names)
    return {
        name: environment[name]
        for name in sorted(environment)
        if name in allowed or name.startswith("LC_")
    }


def write_request(directory: str, origin: Origin, request: Request) -> tuple[str, str]:
    """Write the span record; return its salt and the digest of the file.

    Raises `TraceWriteError` when it cannot be written whole, or the span has one already, and
    `UsageError` for words that no command can have.
    """
    span_id = checked_span_id(origin.span_id)
    salt = os.urandom(16).hex()
    _exact(request.argv)
    content = dumps(_to_json(origin, request, salt), 1).encode()
    try:
        folder_fd = open_folder_in(directory, FOLDER, create=True)
        try:
            write_new(f"{span_id}.json", content, folder_fd)
        except FileExistsError:
            message = f"the span {span_id} has a record already"
            raise TraceWriteError(message, "a span id is used once") from None
        finally:
            os.close(folder_fd)
    except OSError as error:
        message = f"cannot write the record of span {span_id}: {error.strerror}"
        hint = f"look at {directory}/{FOLDER}, and at the room left there"
        raise TraceWriteError(message, hint) from error
    return salt, sha256_of(content)


def prepare(directory: str) -> None:
    """Make ready what the record of a span to come takes, while nobody waits."""
    folder_fd = open_folder_in(directory, FOLDER, create=True)
    try:
        make_blank("", folder_fd)
    finally:
        os.close(folder_fd)


def read_request(directory: str, span_id: str) -> tuple[Request, str, str]:
    """Return the exact request of a span, its salt and the digest of the file.

    Raises `SpanNotFoundError` when there is none, `TraceError` when it is none of ours.
    """
    content = _read(directory, span_id)
    try:
        data = loads(content)
        return _from_json(data), data["salt"], sha256_of(content)
    except (ValueError, KeyError, TypeError) as error:
        message = f"the record of span {span_id} is damaged: {error}"
        raise TraceError(message, "substrate trace verify --spans") from None


def request_sha256(directory: str, span_id: str) -> str:
    """Return the digest of a span record's file; raises `SpanNotFoundError`."""
    return sha256_of(_read(directory, span_id))


def _read(directory: str, span_id: str) -> bytes:
    name = f"{checked_span_id(span_id)}.json"
    folder_fd = -1
    try:
        folder_fd = open_folder_in(directory, FOLDER, create=False)
        with open(open_own(name, os.O_RDONLY, folder_fd), "rb") as file:
            return file.read()
    except FileNotFoundError:
        message = f"no exact request is kept for span {span_id}"
        raise SpanNotFoundError(message, "substrate log lists the spans") from None
    except OSError as error:
        message = f"cannot read the record of span {span_id}: {error.strerror}"
        raise TraceError(message, f"look at {directory}/{FOLDER}") from None
    finally:
        if folder_fd >= 0:
            os.close(folder_fd)


def command_start(
    origin: Origin,
    request: Request,
    recorded: tuple[str, str] | None = None,
    rules: Rules = NO_RULES,
) -> CommandStart:
    """Return the event that announces a request, without its secrets and short enough.

    `recorded` is what `write_request` returned. Without a span record, the digest of a command
    with secrets would help to guess them: it is then taken with a salt that nobody keeps.
    What the request does not know (`policy_decision`, `degraded`, `execution_origin`,
    `replay_context`) is added with `substrate.record.replace`.
    """
    # What does not fit is not looked at: it cannot be in the line.
    fitting = _fitting(request.argv)
    omitted = len(request.argv) - len(fitting)
    argv, redacted = redact_argv(fitting, rules)
    cmd, more = _shown(request.cmd, rules) if request.cmd is not None else (None, 0)
    cwd, still_more = redact_text(request.cwd, rules)
    total = redacted + more + still_more
    salt, sha256 = recorded or (os.urandom(16).hex(), None)
    return CommandStart(
        origin=origin,
        cwd=cwd,
        argv=argv,
        argv_sha256=argv_sha256(_exact(request.argv), salt if total or omitted else ""),
        argv_omitted=omitted,
        redacted=total,
        cmd=cmd,
        request_sha256=sha256,
    )


def refusal(
    origin: Origin, request: Request, decision: Decision, rules: Rules = NO_RULES
) -> PolicyEvent:
    """Return the event that a request was refused, redacted and shortened as a start is."""
    start = command_start(origin, request, rules=rules)
    return PolicyEvent(
        origin,
        decision,
        start.cwd,
        start.argv,
        start.argv_sha256,
        start.argv_omitted,
        start.redacted,
        start.cmd,
    )


def shorten_diff(
    diff: Mapping[str, Any], *, reference: str | None = None, most: int = 200
) -> dict[str, Any]:
    """Return a diff (the JSON of `fs-diff.schema.json`) as it goes into a trace line.

    Each list keeps its first `most` paths as long as they fit; totals are kept whole.
    """
    short: dict[str, Any] = {"summary": dict(diff["summary"])}
    room = LONGEST_ARGV // 2
    cut = bool(diff.get("truncated"))
    for name in ("writes", "mods", "deletes", "renames", "meta"):
        kept: list[Any] = []
        for path in diff.get(name, ()):
            room -= len(str(path)) + 4
            if len(kept) == most or room < 0:
                cut = True
                break
            kept.append(path)
        if kept:
            short[name] = kept
    if cut:
        short["truncated"] = True
    if reference is not None:
        short["reference"] = reference
    return short


def _exact(argv: tuple[str, ...]) -> list[bytes]:
    """Return the words as the kernel gets them; raises `UsageError` for what cannot be one."""
    try:
        exact = [os.fsencode(word) for word in argv]
    except UnicodeEncodeError:
        # From JSON: a surrogate that stands for no byte.
        exact = [b"\0"]
    if any(b"\0" in word for word in exact):
        message = "a word of the command has a NUL byte, or a character that stands for no byte"
        raise UsageError(message, "words are text without NUL; PEP 383 has other bytes as text")
    return exact


def _shown(cmd: str, rules: Rules) -> tuple[str, int]:
    """Return the typed line redacted, cut at a blank if it is long, and how much was replaced."""
    end = ""
    if len(cmd) * 6 > LONGEST_CMD and len(dumps_line(cmd)) > LONGEST_CMD:
        # In the worst case a character is six in JSON. Half a word could be half a secret, which
        # nothing would know for one.
        cmd = cmd[: LONGEST_CMD // 6]
        cmd = cmd[: len(cmd) - len(cmd.rsplit(None, 1)[-1])] if cmd.split() else ""
        end = "…"
    text, count = redact_text(cmd, rules)
    return text + end, count


def _fitting(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first words that fit into a line. A word is never cut."""
    # In the worst case a character is six in JSON.
    if sum(map(len, argv)) * 6 + 3 * len(argv) <= LONGEST_ARGV:
        return argv
    room = LONGEST_ARGV
    for index, word in enumerate(argv):
        room -= len(dumps_line(word)) + 1
        if room < 0:
            return argv[:index]
    return argv


def _to_json(origin: Origin, request: Request, salt: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "v": VERSION,
        "span_id": origin.span_id,
        "session_id": origin.session_id,
        "salt": salt,
        "argv": list(request.argv),
        "cwd": request.cwd,
        "env": request.env,
        "umask": request.umask,
        "cmd": request.cmd,
        "pty": request.pty,
        "timeout_s": request.timeout_s,
        "stdin_kind": request.stdin_kind,
        "stdin_sha256": request.stdin_sha256,
        "stdin_bytes": request.stdin_bytes,
        "settings": request.settings,
    }
    # Lone surrogates are exact for Python; other readers want the bytes.
    if not all(map(_is_unicode, request.argv)):
        # base64 would be imported for it, with `re`.
        from binascii import b2a_base64

        data["argv_base64"] = [
            b2a_base64(word, newline=False).decode() for word in _exact(request.argv)
        ]
    return data


def _from_json(data: dict[str, Any]) -> Request:
    if data["v"] != VERSION:
        message = f"its version is {data['v']!r}"
        raise ValueError(message)
    values: dict[str, Any] = {name: data[name] for name in Request.__match_args__}
    values["argv"] = tuple(data["argv"])
    return Request(**values)


def _is_unicode(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
