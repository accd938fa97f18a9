"""The command line of `substrate` as data; what a row is made of is in `cli/grammar.py`."""

from __future__ import annotations

from substrate.cli.accept_verbs import ACCEPT_OPTIONS, DISCARD_OPTIONS, UNDO_OPTIONS
from substrate.cli.grammar import (
    CHOICE,
    FLAG,
    HELP,
    JSON,
    MANY,
    NUMBER,
    TEXT,
    Operand,
    Option,
    Program,
    Verb,
)
from substrate.cli.layer_verbs import LAYER_VERBS

NAME = "substrate"

_OPTIONS = (
    Option(
        ("--command", "-c"),
        "Run this text by bash in the session's world, with the words behind it as $0 and so on.",
        TEXT,
        "COMMAND",
    ),
    Option(("--world",), "Use the world of this id, not the project's own.", TEXT, "ID"),
    Option(("--no-world",), "Run on the host itself: nothing is kept apart, nor undone."),
    Option(
        ("--bundle",), "Make the world of this bundle: a directory or a shipped name.", TEXT, "DIR"
    ),
    Option(
        ("--project",),
        "Keep changes of this directory apart; by default the enclosing repository.",
        TEXT,
        "DIR",
    ),
    Option(("--policy",), "Use this policy file over the machine's and your own.", TEXT, "FILE"),
    Option(("--timeout",), "End a command after this many seconds.", TEXT, "SECONDS"),
    Option(
        ("--trace",),
        "Show what is on record of a span: one command, by the id that `log` shows.",
        TEXT,
        "SPAN",
    ),
    Option(
        ("--env", "-e"),
        "Set a variable for the command, or with the name alone pass on the caller's. May be"
        " given again.",
        MANY,
        "NAME[=VALUE]",
    ),
    JSON,
    Option(("--quiet", "-q"), "Leave out the line that tells what a command changed."),
    Option(("--root",), "Keep the state of worlds in this directory.", TEXT, "DIR"),
    Option(
        ("--allow-degraded",),
        "A thing that may be missing on this machine. May be given again.",
        MANY,
        "NAME",
    ),
    Option(("--debug",), "Show a traceback of internal errors.", FLAG),
    Option(("--version",), "Show the version and exit."),
    HELP,
)

_PATHS = Operand("PATH", required=False, repeat=True)


def _verb(
    name: str,
    summary: str,
    description: str,
    examples: tuple[str, ...],
    operands: tuple[Operand, ...] = (),
    options: tuple[Option, ...] = (),
    takes_command: bool = False,
) -> Verb:
    module = "substrate.cli.front." + name.replace("-", "_")
    return Verb(
        name, summary, description, examples, operands, options, takes_command, module=module
    )


_VERBS = (
    _verb(
        "run",
        "Run a program in the session's world",
        "Each word is passed on exactly; no shell reads them. The exit status is the program's.",
        (
            "substrate run -- make check",
            "substrate run --json -- python -m pytest -q",
        ),
        options=(JSON,),
        takes_command=True,
    ),
    _verb(
        "diff",
        "Show what the session changed in the project",
        "`+` is new, `~` modified, `-` deleted, `>` renamed, `m` metadata; `!` asks to look twice."
        " Paths are relative to the project.",
        ("substrate diff", "substrate diff --stat src", "substrate diff --json"),
        (_PATHS,),
        LAYER_VERBS[0].options,
    ),
    _verb(
        "accept",
        "Make changes of the session part of the real project",
        "Applies what `diff` shows, all of it or nothing. PATHs (or patterns like 'src/**/*.c')"
        " restrict it to these and what is in them. What has been changed outside meanwhile is a"
        " conflict: nothing is applied, and the exit status is 6. What can run code or reach"
        " outside later is risky: it needs --allow-risky or --risky, else the exit status is 5.",
        ("substrate accept --dry-run", "substrate accept src README.md"),
        (_PATHS,),
        ACCEPT_OPTIONS,
    ),
    _verb(
        "discard",
        "Forget changes of the session",
        "Drops what `diff` shows, all of it or that at the PATHs, once no process of the session"
        " uses it any more. The real project stays as it is. With --span what one command changed"
        " goes, unless a later one changed the same or goes on from it.",
        ("substrate discard build", "substrate discard --span 00f067aa0ba902b7"),
        (_PATHS,),
        DISCARD_OPTIONS,
    ),
    _verb(
        "undo",
        "Take the last accept back",
        "Restores what the last accept has displaced, all of it or nothing; again, and the accept"
        " before is undone. What was accepted is a change of the session again. What has been"
        " changed in the project since is a conflict: nothing is restored, and the exit status is"
        " 6.",
        ("substrate undo", "substrate undo --dry-run"),
        options=UNDO_OPTIONS,
    ),
    _verb(
        "log",
        "List the commands of the session",
        "Newest last, with the span each one was, its status and how many paths it changed.",
        ("substrate log", "substrate log --number 5 --json"),
        options=(
            JSON,
            Option(("--number", "-n"), "Show this many; by default 20.", NUMBER, "N"),
            Option(("--all",), "Show those of all sessions."),
        ),
    ),
    _verb(
        "trace",
        "Show, check or export the trace",
        "`show` prints the records of spans, `verify` walks the chain of its segments and ends in"
        " 1 when it is broken, `anchor` prints what pins all that is recorded now, `export` writes"
        " records for other systems.",
        (
            "substrate trace show 00f067aa0ba902b7",
            "substrate trace verify --spans",
            "substrate trace export --format otlp > spans.jsonl",
        ),
        (
            Operand("ACTION", choices=("show", "verify", "anchor", "export")),
            Operand("SPAN", required=False, repeat=True),
        ),
        (
            JSON,
            Option(
                ("--anchor",),
                "verify: what must be in the trace. May be given again.",
                MANY,
                "ANCHOR",
            ),
            Option(("--pruned",), "verify: the oldest segments may be gone."),
            Option(("--spans",), "verify: check the exact requests too."),
            Option(
                ("--format",),
                "export: the form of a line.",
                CHOICE,
                default="jsonl",
                choices=("jsonl", "otlp", "ocsf", "in-toto", "prov"),
            ),
            Option(("--span",), "export: of this span only.", TEXT, "SPAN"),
            Option(("--session",), "export: of this session only.", TEXT, "ID"),
        ),
    ),
    _verb(
        "why",
        "Say what the policy says about a command, without running it",
        "One word is a shell text, several are an exact argv. The exit status is 126 for a command"
        " that would be denied.",
        ('substrate why "cd x && sudo rm -rf y"', "substrate why rm -rf build"),
        options=(JSON,),
        takes_command=True,
    ),
    _verb(
        "policy",
        "Show the policy that holds here",
        "`--explain` tells for every value which file it comes from.",
        ("substrate policy show", "substrate policy show --explain"),
        (Operand("ACTION", choices=("show",)),),
        (JSON, Option(("--explain",), "Tell where each value comes from.")),
    ),
    _verb(
        "worlds",
        "List the worlds of sessions",
        "One for each project in which a command has run, until it is ended.",
        ("substrate worlds",),
        options=(JSON,),
    ),
    _verb(
        "end",
        "End the session: its processes, and what it changed and was not accepted",
        "Refuses while there are changes, unless --force is given.",
        ("substrate end", "substrate end --force"),
        options=(Option(("--force", "-f"), "Throw the changes away."),),
    ),
    _verb(
        "agent",
        "Serve the session's world to programs, on a Unix socket",
        "HTTP/1.1 with JSON, for processes of the same user outside any world: GET"
        " /v1/capabilities, POST /v1/execute and more. The policy is the agent's, whoever asks.",
        ("substrate agent", "substrate agent --socket ~/.cache/agent.sock"),
        options=(Option(("--socket",), "Listen here.", TEXT, "PATH"),),
    ),
    _verb(
        "mcp",
        "Serve the session's world to a model, as MCP tools on the standard streams",
        "Needs the extra `mcp` of the package. A client is configured with the command"
        " `substrate mcp`, started in the project's directory.",
        ("substrate mcp", "substrate --timeout 600 mcp"),
    ),
    _verb(
        "doctor",
        "Examine what this machine can do",
        "Tries everything a world needs and says what is missing. The exit status is 0 when all"
        " the default bundle needs is there, and 4 otherwise.",
        ("substrate doctor",),
        options=(JSON,),
    ),
    _verb(
        "help",
        "Show help on the program or a verb",
        "Without VERB it lists the verbs and the options.",
        ("substrate help run",),
        (Operand("VERB", required=False),),
    ),
    _verb(
        "completion",
        "Print the completion script of a shell",
        "The script asks the program itself what may come next, so it never goes out of date.",
        ("substrate completion bash > /etc/bash_completion.d/substrate",),
        (Operand("SHELL", choices=("bash", "zsh", "fish")),),
        (
            Option(
                ("--answer",),
                "Answer the question a script asks through the environment; used by the scripts.",
            ),
        ),
    ),
)

_STATUSES = (
    ("0", "success"),
    ("1", "failure"),
    ("2", "the command line or a file of ours is wrong"),
    ("3", "a program or library that must be installed is missing"),
    ("4", "this machine or this version cannot do what was asked"),
    ("5", "refused because it would be unsafe"),
    ("6", "the project was changed meanwhile where the call would change it"),
    ("124", "ended because its time was over (--timeout)"),
    ("125", "the command was not run, by a failure of substrate's own"),
    ("126", "denied by policy, or cannot be executed"),
    ("127", "the program is not there"),
    ("128+N", "ended by signal N"),
    ("other", "the command's own"),
)

PROGRAM = Program(
    NAME,
    "Run commands in a world: on the project's real files with the host's real tools, and every"
    " change is kept apart until you accept it. Without a command it is an interactive shell;"
    " with the name of a script, or a script as standard input, it runs that.",
    _OPTIONS,
    _VERBS,
    _STATUSES,
    usage="[-c COMMAND | VERB … | SCRIPT [ARG…]]",
)
