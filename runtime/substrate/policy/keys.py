"""Every key of a policy file: what it takes and which way is tighter. The one table."""

from __future__ import annotations

from substrate.policy import entries
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What makes a value tighter: more entries, fewer entries, a later word, a smaller number.
MORE, FEWER, LATER, SMALLER = "more", "fewer", "later", "smaller"
LIST, WORD, SIZE, COUNT, SECONDS, NUMBER = "list", "word", "size", "count", "seconds", "number"

INT64_MAX = (1 << 63) - 1
UINT32_MAX = (1 << 32) - 1
LONGEST_S = 366 * 24 * 3600
MOST_CPUS = 65536
MOST_ENTRIES = 1000


@record
class Key:
    """One key; `tighter` None: a project's file cannot set it at all unless it is trusted."""

    kind: str
    tighter: str | None
    # Of a list: what is wrong with an entry, and whether one entry allows another.
    fault: Callable[[str], str] = entries.text_fault
    covers: Callable[[str, str], bool] = entries.same
    words: tuple[str, ...] = ()
    least: int = 0
    most: int = INT64_MAX


KEYS: dict[str, Key] = {
    "mode": Key(WORD, LATER, words=("observe", "enforce")),
    "cmd_allowed": Key(LIST, FEWER, fault=entries.command_fault),
    "cmd_denied": Key(LIST, MORE, fault=entries.command_fault),
    "cmd_isolated": Key(LIST, MORE, fault=entries.command_fault),
    "cmd_unjudged": Key(WORD, LATER, words=("isolate", "deny")),
    "net_allowed": Key(
        LIST, FEWER, fault=entries.allowed_domain_fault, covers=entries.domain_covers
    ),
    "fs.deny": Key(LIST, MORE, fault=entries.project_pattern_fault),
    "fs.readonly": Key(LIST, MORE, fault=entries.project_pattern_fault),
    "fs.risky": Key(LIST, MORE, fault=entries.project_pattern_fault),
    "fs.expose": Key(LIST, FEWER, fault=entries.host_path_fault, covers=entries.path_covers),
    "fs.hide": Key(LIST, MORE, fault=entries.host_path_fault),
    "env.allow": Key(LIST, FEWER, fault=entries.variable_fault, covers=entries.variable_covers),
    "limits.wall_time": Key(SECONDS, SMALLER, least=1, most=LONGEST_S),
    "limits.egress_bytes": Key(SIZE, SMALLER),
    "limits.output": Key(SIZE, SMALLER),
    "limits.memory": Key(SIZE, SMALLER, least=1),
    "limits.cpus": Key(NUMBER, SMALLER, most=MOST_CPUS),
    "limits.pids": Key(COUNT, SMALLER, least=1, most=UINT32_MAX),
    "limits.open_files": Key(COUNT, SMALLER, least=1, most=UINT32_MAX),
    "limits.disk": Key(SIZE, SMALLER, least=1),
    "trusted_projects": Key(LIST, None, fault=entries.digest_fault),
}

GROUPS = ("fs", "env", "limits")
