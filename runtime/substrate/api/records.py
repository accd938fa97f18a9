"""The records of the world API. `codec.py` turns them into JSON and back.

What is optional is None or empty, and is then left out of the JSON: readers must do without it.
"""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff

# What a policy decides about a command.
ALLOW, ISOLATE, DENY, WOULD_DENY = "allow", "isolate", "deny", "would_deny"


@record
class ExecRequest:
    """A command for a world: exact `argv`, or `command`, a text for `bash -c`.

    `cwd` is a directory of the world, by default the project's. `env` is set on top of the
    world's own. `stdin` is all of the standard input. `pty`: with a terminal, whose one stream
    comes back as `stdout`. `timeout_s` counts from the start of the program. `output_bytes`: how
    much of each output stream the result holds.
    """

    argv: tuple[str, ...] = ()
    command: str | None = None
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    stdin: str | None = None
    pty: bool = False
    span_id: str | None = None
    parent_span: str | None = None
    agent_id: str | None = None
    timeout_s: float | None = None
    output_bytes: int | None = None


@record
class Output:
    """What a stream of a command brought. `text` is UTF-8 with PEP 383 escapes for other bytes.

    `truncated`: `text` is only the first part of `size` bytes; `sha256` is of all of them, and
    `file` holds all of them.
    """

    text: str
    size: int
    sha256: str
    truncated: bool = False
    file: str | None = None


@record
class Scope:
    """A remote endpoint that a command used."""

    host: str
    port: int
    protocol: str
    address: str | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None


@record
class PolicyDecision:
    """What the policy said: `rule` is the one that decided, `source` the file it stands in."""

    action: str
    rule: str | None = None
    source: str | None = None
    reason: str | None = None


@record
class Limit:
    """A limit that was reached while a command ran; `fatal`: something was ended for it."""

    name: str
    message: str
    hint: str = ""
    fatal: bool = False


@record
class Resources:
    """What a command used, as far as the machine can tell.

    `cpu_ms` milliseconds of processor time, `memory_peak` bytes; `survivors`: processes that it
    has left behind.
    """

    cpu_ms: int | None = None
    memory_peak: int | None = None
    oom_killed: bool | None = None
    throttled: bool | None = None
    pids_peak: int | None = None
    survivors: int | None = None
    limits_hit: tuple[Limit, ...] = ()


@record
class ExecResult:
    """How a command ended.

    `exit` is as a shell has it: its own status, 128 + n when signal n ended it, 126 when it was
    denied or cannot be executed. `fs_diff` is what it changed in the project; where it is absent,
    ask for it. `telemetry` lists what could not be recorded or measured: the command ran all the
    same.
    """

    exit: int
    span_id: str
    world_id: str
    duration_ms: int
    signal: str | None = None
    timed_out: bool = False
    stdout: Output | None = None
    stderr: Output | None = None
    fs_diff: FsDiff | None = None
    scopes_used: tuple[Scope, ...] = ()
    resources: Resources | None = None
    policy_decision: PolicyDecision | None = None
    degraded: tuple[str, ...] = ()
    telemetry: tuple[str, ...] = ()
    evidence: str | None = None


@record
class WorldSpec:
    """The world a session wants. None is the default of the front-end.

    `project_dir`: the directory whose changes are kept apart. `reuse`: take the world of this id
    as it is when there is one.
    """

    id: str | None = None
    bundle: str | None = None
    project_dir: str | None = None
    reuse: bool = True
