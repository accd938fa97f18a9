"""How a fresh bash comes to know the jobs of those before it: text for it, and what it asks.

No bash lives between commands but one whose jobs go on. It stays with them, does what it is told
(`ORDERS_FD`) and says how it went (`REPORT_FD`), so that its jobs are continued, stopped and
waited for by the shell they belong to. A later bash asks us for them by `fg`, `bg`, `jobs`, `kill`,
`wait` and `disown`, which are functions there as long as there are such jobs. In place of each it
starts a process of its own that only waits: so its own jobs get the numbers behind them, and `$!`
means the last. Whatever is asked and said is the payload's word, about nothing but its own jobs.
"""

from __future__ import annotations

from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT_FD = 31
ORDERS_FD = 34
# A pipe on which nothing ever comes, until it is closed.
SILENT_FD = 35
# Above it jobs get numbers from 1 again.
MOST_STANDINS = 64
# The first character of what is no part of a state.
MESSAGE, FIELD = "\1", "\2"
WORDS = ("bg", "disown", "fg", "jobs", "kill", "wait")

# `fg` stands outside of any loop: bash leaves one when a job in the foreground is stopped.
STAY = f"""\
__substrate_stay() {{
    builtin local order number signal
    while IFS=$'\\2' builtin read -r -d '' -u {ORDERS_FD} order number signal; do
        case $order in
        list) builtin printf '\\1'; builtin jobs -l; builtin printf '\\0' ;;
        kill) builtin kill -s "$signal" "%$number"; builtin printf '\\1%s\\0' "$?" ;;
        bg | disown) builtin "$order" "%$number" >/dev/null; builtin printf '\\1%s\\0' "$?" ;;
        fg) builtin break ;;
        esac >&{REPORT_FD}
    done
    [[ $order == fg ]] || builtin return 0
    builtin fg "%$number" 2>&1
    builtin printf '\\1%s\\0' "$?" >&{REPORT_FD}
    __substrate_stay
}}
"""

_ASK = f"""\
__substrate_ask() {{
    builtin local - __substrate_told
    builtin set +efux
    {{
        builtin printf '\\1%s\\2%s;%s\\2' "$1" "${{__substrate_standins[*]}}" "$__substrate_last"
        builtin jobs -l
        builtin shift
        (( $# )) && builtin printf '\\2%s' "$@"
        builtin printf '\\0'
    }} >&{REPORT_FD}
    IFS=$'\\2' builtin read -r -d '' -a __substrate_told -u {ORDERS_FD} || builtin return 1
    case ${{__substrate_told[0]}} in
    run) builtin "${{__substrate_told[@]:1}}" ;;
    *)
        builtin printf %s "${{__substrate_told[2]-}}"
        builtin printf %s "${{__substrate_told[3]-}}" >&2
        builtin return "${{__substrate_told[1]}}"
        ;;
    esac
}}
"""
# Its number is free again for the next job, and `$!` is still its process.
_LAST = """\
builtin : &
__substrate_last=$!
builtin wait "$__substrate_last"
"""
_DROP = """\
builtin kill -9 "${__substrate_standins[@]}"
builtin wait "${__substrate_standins[@]}"
"""


def know_jobs(highest: int, last: int | None) -> str:
    """Return the text by which a bash knows that there are jobs up to this number, 0 for none.

    `last`: the number of the job that `$!` means, 0 for one that has ended, None for none.
    """
    if last is None and not highest:
        return ""
    standins = min(highest, MOST_STANDINS)
    words = "".join(f'{word}() {{ __substrate_ask {word} "$@"; }}\n' for word in WORDS)
    return (
        "__substrate_standins=() __substrate_last=\n"
        f"for (( __substrate_n = 1; __substrate_n <= {standins}; __substrate_n++ )); do\n"
        f"    builtin read -r -u {SILENT_FD} &\n"
        "    __substrate_standins[__substrate_n]=$!\n"
        f"done\n{'' if last is None or last == standins else _LAST}{_ASK}{words}"
    )


def forget_jobs(highest: int) -> str:
    """Return the text that takes back what `know_jobs` did, before the state is written."""
    return _DROP if highest else ""


def without_words(functions: str) -> str:
    """Return the text of a shell's functions without ours, also where they were ours to begin."""
    for word in WORDS:
        functions = functions.replace(f'{word} () \n{{ \n    __substrate_ask {word} "$@"\n}}\n', "")
    return functions


@record
class Asked:
    """What a bash asks for: a word and its arguments.

    `own` is the text of its own `jobs -l`. `standins` are the processes that stand for jobs of
    earlier shells, that of number 1 first; `last` the one that stands for `$!` where it is none
    of those, else 0.
    """

    word: str
    arguments: tuple[str, ...]
    own: str
    standins: tuple[int, ...]
    last: int = 0


def read_question(message: str) -> Asked | None:
    """Return what a message of a bash asks, None when it asks nothing."""
    word, *rest = message.split(FIELD)
    if word not in WORDS or len(rest) < 2:
        return None
    listed, _, last = rest[0].partition(";")
    return Asked(word, tuple(rest[2:]), rest[1], tuple(map(_pid, listed.split())), _pid(last))


def _pid(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def run(*words: str) -> str:
    """Return the answer that a bash is to do these words itself, by its builtin."""
    return _answer("run", *words)


def say(status: int, out: str = "", err: str = "") -> str:
    """Return the answer that ends a question with this status, and these texts to print."""
    return _answer("say", str(status & 0xFF), out, err)


def order(word: str, number: int, signal: str = "") -> str:
    """Return the order to a shell that stays: a job by its number, and what to do with it."""
    return _answer(word, str(number), signal)


def _answer(*fields: Sequence[str] | str) -> str:
    return FIELD.join(str(field).replace("\0", "") for field in fields) + "\0"
