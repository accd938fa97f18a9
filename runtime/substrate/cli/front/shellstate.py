"""A shell's state as data, from one command's bash to the next one's.

No shell lives between commands: each gets a fresh bash in the world, which takes up the state of
the one before and hands its own back when it ends. The state is a text that bash writes and bash
reads. Here it is only carried: whoever forges it (the command itself can) gets its own later
commands to do what they could do anyway, in the same world.

It goes in as an anonymous file that bash reads for BASH_ENV, and comes back through a pipe: there
is no file to name. A shell whose jobs go on stays as the leader of their session, so that they
keep their terminal, and does with them what it is told (`jobwords.py`); it has handed over its
state before.
"""

from __future__ import annotations

import os
import re

from substrate.cli.front import jobwords
from substrate.cli.front.joblist import read_jobs
from substrate.cli.front.jobwords import ORDERS_FD, REPORT_FD
from substrate.kernel.spawn import sealed_memfd
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from substrate.cli.front.joblist import Job

STATE_FD = 30
STATE_FILE = f"/dev/fd/{STATE_FD}"

# As `declare -f` writes the beginning of a function.
_FUNCTION = re.compile(r"^(\S+) \(\) *$", re.MULTILINE)

# More is no state of a shell; then the one before is kept.
LONGEST_REPORT = 1 << 22
_FIELDS = 10

# What bash sets itself, or what is about one command only.
_OWN_VARIABLES = (
    "BASH|BASHOPTS|BASHPID|BASH_ALIASES|BASH_ARGC|BASH_ARGV|BASH_ARGV0|BASH_CMDS|BASH_COMMAND"
    "|BASH_ENV|BASH_EXECUTION_STRING|BASH_LINENO|BASH_LOADABLES_PATH|BASH_REMATCH|BASH_SOURCE"
    "|BASH_SUBSHELL|BASH_VERSINFO|BASH_VERSION|COLUMNS|COMP_WORDBREAKS|DIRSTACK|EPOCHREALTIME"
    "|EPOCHSECONDS|EUID|FUNCNAME|GROUPS|HISTCMD|HOSTNAME|HOSTTYPE|LINENO|LINES|MACHTYPE|OSTYPE"
    "|PIPESTATUS|PPID|PWD|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|TRACEPARENT|TRACESTATE|UID|_"
    "|__substrate_*"
)
# Of an interactive shell, or such that nothing would run any more.
_OWN_OPTIONS = "noexec|onecmd|monitor|privileged|history|histexpand|emacs|vi|restricted"
_LETTERS = " ".join(
    f'"${{!{letter}@}}"' for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
)

_HEAD = f"""\
exec {STATE_FD}<&-
builtin unset BASH_ENV
# As in a shell that a person types to: every pipeline is a job, and Ctrl-Z stops it.
[[ -t 1 ]] && builtin set -m 2>/dev/null
builtin shopt -s expand_aliases
__substrate_return() {{ return "$1"; }}
exit() {{
    __substrate_left=$?
    builtin exit "${{@:-$__substrate_left}}"
}}
__substrate_end() {{
    __substrate_status=$? __substrate_options=$SHELLOPTS:
    builtin set +eufvxn
@FORGET_JOBS@
    {{
        builtin printf '%s\\0%s\\0%s\\0' "$__substrate_status" "$PWD" "${{__substrate_left+left}}"
        builtin umask -p
        builtin shopt -p
        builtin shopt -u nocasematch
        builtin printf 'builtin cd -- %q\\n' "${{OLDPWD:-.}}" "$PWD"
        for (( __substrate_n = ${{#DIRSTACK[@]}} - 1; __substrate_n > 0; __substrate_n-- )); do
            builtin printf 'builtin pushd -n %q\\n' "${{DIRSTACK[__substrate_n]}}"
        done
        for __substrate_n in {_LETTERS}; do
            case $__substrate_n in
            {_OWN_VARIABLES}) ;;
            *) builtin declare -p "$__substrate_n" ;;
            esac
        done
        builtin unset -f exit __substrate_ask __substrate_end __substrate_return
        builtin printf '\\0'
        builtin declare -f
        builtin printf '\\0'
        builtin declare -Fx
        builtin trap - EXIT DEBUG
        builtin trap -p
        builtin printf 'builtin set --'
        (( $# )) && builtin printf ' %q' "$@"
        builtin printf '\\n\\0'
        builtin alias -p
        builtin printf '\\0%s\\n' '\\builtin set +o braceexpand +o hashall +o interactive-comments'
        while [[ $__substrate_options ]]; do
            case ${{__substrate_options%%:*}} in
            {_OWN_OPTIONS} | '') ;;
            *) builtin printf '\\\\builtin set -o %s\\n' "${{__substrate_options%%:*}}" ;;
            esac
            __substrate_options=${{__substrate_options#*:}}
        done
        builtin printf '\\0'
        builtin printf '%s\\n' "$!"
        builtin jobs -l
        builtin printf '\\0'
        # What was typed and nobody read is for the next prompt. Never stopped by the terminal.
        builtin trap '' TTIN TTOU
        for (( __substrate_n = 0; __substrate_n < 16; __substrate_n++ )); do
            [[ -t 0 ]] || break
            IFS= builtin read -r -s -t 0.002 -d '' -N 4096 __substrate_typed
            # Over when the time is, and nothing came in it.
            (( $? > 128 )) && [[ ! $__substrate_typed ]] && break
            builtin printf %s "$__substrate_typed"
        done
        builtin printf '\\0'
    }} >&{REPORT_FD}
{jobwords.STAY}
    builtin jobs %% >/dev/null && __substrate_stay
    exec {REPORT_FD}>&- {ORDERS_FD}<&-
    IFS=$' \\n'
    builtin wait
    builtin shopt -s nullglob
    while :; do
        __substrate_n=
        for __substrate_status in /proc/[0-9]*/stat; do
            builtin read -r __substrate_options <"$__substrate_status" || continue
            builtin set -- ${{__substrate_options##*) }}
            [[ $4 == "$$" && $1 != [ZX] && $__substrate_status != /proc/$$/stat ]] &&
                __substrate_n=company
        done
        [[ $__substrate_n ]] || break
        command sleep 1 || break
    done
}}
exec 32>&1 33>&2 >/dev/null 2>&1
"""

_TAIL = """
exec >&32 2>&33 32>&- 33>&-
builtin trap '{ __substrate_end "$@"; } 2>/dev/null' EXIT
{
%s
\\__substrate_return %d && :
} 2>/dev/null
"""


@record
class ShellState:
    """What one command's shell leaves to the next.

    All but `directory` (shown to the person, escaped) and `status` (`$?`) is text for bash, in
    the order in which it is read: variables, functions, traps and parameters, aliases, options.
    """

    directory: str
    variables: str = ""
    functions: str = ""
    traps: str = ""
    aliases: str = ""
    options: str = ""
    status: int = 0

    def begin(self, highest: int = 0, last: int | None = None) -> int:
        """Return a descriptor of the file that a bash must read first, for `STATE_FD`.

        `highest` and `last`: of the jobs of earlier shells, as `know_jobs` has it.
        """
        text = _HEAD.replace("@FORGET_JOBS@\n", jobwords.forget_jobs(highest))
        text += jobwords.know_jobs(highest, last) + self.variables + self.functions + self.traps
        text += _TAIL % (self.aliases + self.options, self.status & 0xFF)
        return sealed_memfd("shell-state", os.fsencode(text))

    def definitions(self) -> dict[str, str]:
        """Return what aliases and functions stand for, as the policy reads it."""
        found = {name: f'{text} "$@"' for name, text in _read_aliases(self.aliases)}
        headers = list(_FUNCTION.finditer(self.functions))
        ends = [header.start() for header in headers[1:]] + [len(self.functions)]
        for header, end in zip(headers, ends, strict=False):
            found.setdefault(header[1], self.functions[header.end() : end])
        return found

    def to_json(self) -> dict[str, str | int]:
        """Return the state for the record of a command, which a replay begins with."""
        return {name: getattr(self, name) for name in type(self).__match_args__}


def _read_aliases(text: str) -> Iterator[tuple[str, str]]:
    import shlex

    try:
        words = shlex.split(text)
    except ValueError:
        return  # not what bash writes
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            yield name, value


@record
class Report:
    """How a shell handed over: its own word for its status, whether it was told to exit, its jobs.

    `last_pid` is its `$!`, 0 for none; `typed` is what was typed and nobody has read, in its words:
    see `still_unread`.
    """

    state: ShellState
    has_left: bool
    jobs: tuple[Job, ...] = ()
    last_pid: int = 0
    typed: str = ""


def read_report(fields: Sequence[bytes]) -> Report | None:
    """Return what a shell handed over, None while it is incomplete or when it is none."""
    if len(fields) != _FIELDS:
        return None
    words = [os.fsdecode(field) for field in fields]
    status, directory, left, variables, functions, traps, aliases, options, jobs, typed = words
    if not (status.isascii() and status.isdigit() and len(status) <= 3):
        return None
    functions = jobwords.without_words(functions)
    state = ShellState(directory, variables, functions, traps, aliases, options, int(status))
    last, _, listed = jobs.partition("\n")
    last_pid = int(last) if last.isascii() and last.isdigit() and len(last) < 12 else 0
    return Report(state, left == "left", tuple(read_jobs(listed)), last_pid, typed)


def still_unread(claimed: str, given: bytes) -> str:
    """Return what of a claim that something was typed and not read is for the next prompt.

    The claim may be a payload's, and the prompt does what is typed there. So it must be the end of
    what the person has typed, and a command of ours is nothing that is typed ahead.
    """
    text = claimed.replace("\r", "\n")
    if not os.fsdecode(given).replace("\r", "\n").endswith(text):
        return ""
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith(":"):
            break
        kept.append(line)
    return "".join(kept)
