"""The command line of `substrate-runtime` as data: global options, verbs, exit statuses.

Everything that reads a command line or talks about one reads this table: the fast parser
(`parse.py`), the click commands behind help and completion (`help.py`), and the reference page.
A new verb is one `Verb` here and one module with `run(arguments: Arguments) -> int`.

Not here: what a verb does; what a row is made of is in `grammar.py`.
"""

from __future__ import annotations

from substrate.cli.accept_verbs import ACCEPT_VERBS
from substrate.cli.grammar import (
    CHOICE,
    FLAG,
    HELP,
    JSON,
    MANY,
    NUMBER,
    TEXT,
    USER,
    Operand,
    Option,
    Program,
    Verb,
)
from substrate.cli.layer_verbs import LAYER_VERBS

__all__ = [
    "CHOICE", "EXIT_STATUSES", "FLAG", "GLOBAL_OPTIONS", "HELP", "JSON", "MANY", "NUMBER",
    "PROGRAM", "RUNTIME", "TEXT", "USER", "VERBS", "Operand", "Option", "Verb",
]  # fmt: skip

PROGRAM = "substrate-runtime"

GLOBAL_OPTIONS = (
    Option(("--root",), "Keep the state of worlds in this directory.", TEXT, "DIR"),
    Option(
        ("--log",),
        "Append errors to this file, besides standard error; nothing is written on success.",
        TEXT,
        "FILE",
    ),
    Option(
        ("--log-format",),
        "Form of the log: one logrus line or one JSON object for each failure.",
        CHOICE,
        default="text",
        choices=("text", "json"),
    ),
    Option(("--debug",), "Show each step with its time, and a traceback of internal errors."),
    Option(("--systemd-cgroup",), "Let systemd make the cgroups."),
    Option(
        ("--cgroup-manager",),
        "Who makes the cgroups; `disabled` makes none.",
        CHOICE,
        default="cgroupfs",
        choices=("cgroupfs", "systemd", "disabled"),
    ),
    Option(
        ("--rootless",),
        "Whether to behave as an ordinary user does.",
        CHOICE,
        default="auto",
        choices=("true", "false", "auto"),
    ),
    Option(("--criu",), "Accepted for runc's callers; has no effect.", TEXT, "PATH"),
    Option(
        ("--allow-degraded",),
        "A thing that may be missing on this machine; what was missing is recorded in the state."
        " May be given again.",
        MANY,
        "NAME",
    ),
    JSON,
    Option(("--version", "-v"), "Show the version and exit."),
    HELP,
)

_BUNDLE = Option(
    ("--bundle", "-b"),
    "Directory with config.json, or the name of a shipped bundle.",
    TEXT,
    "DIR",
    default=".",
)
_PROJECT = Option(
    ("--project",), "Project directory, in place of the one the bundle names.", TEXT, "DIR"
)
_EXECUTOR = Option(
    ("--executor",),
    "Which executor carries out the plan; for debugging.",
    CHOICE,
    choices=("native", "python"),
)
_CONSOLE_SOCKET = Option(
    ("--console-socket",),
    "Unix socket that receives the master of the terminal.",
    TEXT,
    "PATH",
)
_PID_FILE = Option(
    ("--pid-file",), "Write the process id of the process to this file.", TEXT, "FILE"
)
_PRESERVE_FDS = Option(
    ("--preserve-fds",),
    "Pass on this many descriptors after standard error.",
    NUMBER,
    "N",
)
_DETACH = Option(("--detach", "-d"), "Return as soon as the process runs.")
_TTY = Option(("--tty", "-t"), "Give the process a terminal.")
_USER = Option(("--user", "-u"), "Run as this numeric user and group.", USER, "UID[:GID]")
_CWD = Option(("--cwd",), "Working directory in the world.", TEXT, "DIR")
_ENV = Option(
    ("--env", "-e"),
    "Set an environment variable. May be given again.",
    MANY,
    "NAME=VALUE",
)
_CAP = Option(("--cap", "-c"), "Add a capability. May be given again.", MANY, "CAP")
_REGEX = Option(("--regex",), "The id is a regular expression; act on every world it matches.")
_FORMAT = Option(
    ("--format", "-f"), "Form of the output.", CHOICE, default="table", choices=("table", "json")
)

_CREATE_OPTIONS = (
    _BUNDLE,
    Option(("--config", "-f"), "Read this file instead of the bundle's config.json.", TEXT, "FILE"),
    _PROJECT,
    _CONSOLE_SOCKET,
    _PID_FILE,
    Option(("--no-pivot",), "Move the root mount instead of pivot_root; for root on a ramdisk."),
    Option(("--no-new-keyring",), "Keep the caller's session keyring."),
    Option(
        ("--idle",),
        "Run nothing but an init that reaps; what `exec` runs has the bundle's process as default.",
    ),
    Option(("--no-subreaper",), "Accepted for runc's callers; has no effect."),
    _PRESERVE_FDS,
    _EXECUTOR,
)

_ID = Operand("ID")

VERBS = (
    Verb(
        "create",
        "Make a world from a bundle and stop short of its program",
        "Reads config.json of the bundle, makes the namespaces, mounts and limits it asks for and"
        " leaves the first process waiting. `start` lets it run. If anything fails, everything"
        " made so far is taken back.",
        (
            "substrate-runtime create --bundle ./bundle web",
            "substrate-runtime create --bundle busybox --pid-file web.pid web",
        ),
        (_ID,),
        _CREATE_OPTIONS,
    ),
    Verb(
        "start",
        "Start the program of a created world",
        "Runs the startContainer hooks in the world, lets its first process execute the program,"
        " then runs the poststart hooks. The world must have been made by `create` and not yet"
        " started.",
        ("substrate-runtime start web",),
        (_ID,),
    ),
    Verb(
        "run",
        "Make a world, run its program, wait for it and delete the world",
        "Does create, start and delete in one call. COMMAND replaces the program that config.json"
        " names. The exit status is the program's own, or 128 and the number of the signal that"
        " ended it.",
        (
            "substrate-runtime run --bundle busybox try sh -c 'id; ls /'",
            "substrate-runtime run --bundle ./bundle --detach web",
        ),
        (_ID,),
        (
            *_CREATE_OPTIONS,
            _DETACH,
            Option(("--keep",), "Do not delete the world when its program ends."),
            _TTY,
            _USER,
            _CWD,
            _ENV,
            _CAP,
        ),
        takes_command=True,
    ),
    Verb(
        "exec",
        "Run another process in a world",
        "Starts COMMAND, or the process described by the file given with --process, in the"
        " namespaces of a running world and under the same restrictions as its first process."
        " The exit status is the process's own.",
        (
            "substrate-runtime exec web ps -ef",
            "substrate-runtime exec --user 1000:1000 --cwd /tmp web sh",
            "substrate-runtime exec --process process.json --detach --pid-file p.pid web",
        ),
        (_ID,),
        (
            Option(
                ("--process", "-p"),
                "Read the process (its args, env, user …) from this JSON file.",
                TEXT,
                "FILE",
            ),
            _CONSOLE_SOCKET,
            _CWD,
            _ENV,
            _TTY,
            _USER,
            Option(
                ("--additional-gids", "-g"),
                "Add a supplementary group. May be given again.",
                MANY,
                "GID",
            ),
            _PID_FILE,
            _DETACH,
            _CAP,
            _PRESERVE_FDS,
            Option(("--no-new-privs",), "Set no_new_privs for the process."),
            Option(("--ignore-paused",), "Start the process even when the world is paused."),
            Option(("--apparmor",), "Refused: AppArmor is not supported.", TEXT, "PROFILE"),
            Option(("--process-label",), "Refused: SELinux is not supported.", TEXT, "LABEL"),
            Option(
                ("--cgroup",),
                "Refused: each process of `exec` has a cgroup of its own below the world's.",
                TEXT,
                "PATH",
            ),
            Option(
                ("--span",),
                "Keep what the process changes in the project apart, under this id.",
                TEXT,
                "SPAN",
            ),
            Option(("--session",), "Session the span belongs to.", TEXT, "ID"),
            _EXECUTOR,
        ),
        takes_command=True,
    ),
    Verb(
        "state",
        "Print the state of a world as JSON",
        "Prints the state the OCI runtime specification describes (ociVersion, id, status, pid,"
        " bundle, annotations) and what Substrate adds to it. It is always JSON.",
        ("substrate-runtime state web",),
        (_ID,),
        (JSON,),
    ),
    Verb(
        "kill",
        "Send a signal to a world",
        "Sends SIGNAL, a name with or without SIG or a number, to the first process of the world;"
        " without SIGNAL it is SIGTERM.",
        (
            "substrate-runtime kill web",
            "substrate-runtime kill --all web KILL",
        ),
        (_ID, Operand("SIGNAL", required=False)),
        (Option(("--all", "-a"), "Send it to every process of the world."), _REGEX),
    ),
    Verb(
        "delete",
        "Remove a world that has stopped",
        "Removes the state, layers, cgroup and mounts of a world and runs its poststop hooks. It"
        " may be called again after a failure and finishes what is left.",
        (
            "substrate-runtime delete web",
            "substrate-runtime delete --force web",
        ),
        (_ID,),
        (
            Option(
                ("--force", "-f"),
                "Kill the world first if it runs, and succeed if there is none of that id.",
            ),
            _REGEX,
        ),
    ),
    Verb(
        "pause",
        "Stop every process of a world where it is",
        "Freezes the world's cgroup: its processes get no processor time until `resume`.",
        ("substrate-runtime pause web",),
        (_ID,),
    ),
    Verb(
        "resume",
        "Let the processes of a paused world go on",
        "Thaws the world's cgroup.",
        ("substrate-runtime resume web",),
        (_ID,),
    ),
    Verb(
        "update",
        "Change the limits of a world",
        "Writes new limits into the world's cgroup, at once and for all its processes. What is not"
        " named stays as it is. FILE is JSON of the form of linux.resources; - is standard input.",
        (
            "substrate-runtime update --memory 268435456 web",
            "substrate-runtime update --resources limits.json web",
        ),
        (_ID,),
        (
            Option(("--resources", "-r"), "Read the limits from this file.", TEXT, "FILE"),
            Option(("--memory",), "Most memory, in bytes.", NUMBER, "N"),
            Option(("--memory-reservation",), "Memory that is spared, in bytes.", NUMBER, "N"),
            Option(("--memory-swap",), "Most memory and swap, in bytes.", NUMBER, "N"),
            Option(("--cpu-period",), "Length of a CPU period, in microseconds.", NUMBER, "N"),
            Option(("--cpu-quota",), "CPU time in each period, in microseconds.", NUMBER, "N"),
            Option(("--cpu-share",), "Share of the CPUs; 1024 is usual.", NUMBER, "N"),
            Option(("--cpuset-cpus",), "CPUs it may run on, such as 0-2,7.", TEXT, "LIST"),
            Option(("--cpuset-mems",), "Memory nodes it may use.", TEXT, "LIST"),
            Option(("--pids-limit",), "Most processes and threads.", NUMBER, "N"),
        ),
    ),
    Verb(
        "events",
        "Print the figures of a world as JSON, again and again",
        "One object each interval, as runc prints them, until the world ends.",
        ("substrate-runtime events --stats web", "substrate-runtime events --interval 1 web"),
        (_ID,),
        (
            Option(("--stats",), "Print them once."),
            Option(("--interval",), "Seconds between two objects; 5 unless given.", NUMBER, "N"),
        ),
    ),
    Verb(
        "list",
        "List the worlds",
        "Prints id, process id, status, bundle, time of creation and owner of every world under"
        " the state directory.",
        (
            "substrate-runtime list",
            "substrate-runtime list --quiet",
            "substrate-runtime list --format json",
        ),
        options=(_FORMAT, Option(("--quiet", "-q"), "Print the ids only."), JSON),
    ),
    Verb(
        "ps",
        "List the processes of a world",
        "Prints the processes of a world as the host's ps(1) shows them; words after the id are"
        " ps's own. With --format json it is an array of process ids.",
        (
            "substrate-runtime ps web",
            "substrate-runtime ps --format json web",
            "substrate-runtime ps web -o pid,args",
        ),
        (_ID,),
        (_FORMAT, JSON),
        takes_command=True,
        command_name="PS-ARGUMENT",
    ),
    Verb(
        "spec",
        "Write a config.json to start from",
        "Writes config.json into the bundle directory. It never replaces one that is there.",
        (
            "substrate-runtime spec",
            "substrate-runtime spec --bundle ./bundle --template busybox",
        ),
        options=(
            Option(("--bundle", "-b"), "Directory to write config.json to.", TEXT, "DIR", "."),
            Option(
                ("--rootless",),
                "Write one that an ordinary user can run.",
                key="rootless_config",
            ),
            Option(("--template",), "Start from this shipped bundle.", TEXT, "NAME"),
        ),
    ),
    Verb(
        "validate",
        "Check a bundle and list everything wrong with it",
        "Checks config.json against the schema and the rules a schema cannot say, and prints each"
        " problem with its JSON path. Nothing is run. The exit status is 2 if there is a problem.",
        (
            "substrate-runtime validate --bundle ./bundle",
            "substrate-runtime validate --bundle ./bundle --json",
        ),
        options=(_BUNDLE, JSON),
    ),
    Verb(
        "plan",
        "Show the steps that would isolate a world, without taking them",
        "Prints, in order, every step `run` would take for this bundle on this machine. Nothing"
        " is made.",
        (
            "substrate-runtime plan --bundle busybox",
            "substrate-runtime plan --syscalls -- sh -c 'echo hello'",
        ),
        options=(
            _BUNDLE,
            _PROJECT,
            Option(("--syscalls",), "Show the system calls each step becomes."),
            JSON,
        ),
        takes_command=True,
    ),
    Verb(
        "features",
        "Print what this runtime supports as JSON",
        "Prints the features structure of the OCI runtime specification: hooks, mount options,"
        " namespaces, capabilities, seccomp. It is always JSON.",
        ("substrate-runtime features",),
        options=(JSON,),
    ),
    Verb(
        "gc",
        "Remove what interrupted calls have left behind",
        "Removes worlds whose making was interrupted, layers and cgroups of worlds that are gone,"
        " and temporary files. A world that is whole stays, running or stopped; so do the changes"
        " of a world whose state was lost (in a reboot, say), unless --layers is given.",
        ("substrate-runtime gc --dry-run", "substrate-runtime gc"),
        options=(
            Option(("--dry-run",), "Change nothing; list what would go, with a command for each."),
            Option(("--layers",), "Remove the changes of worlds that are gone, too."),
            JSON,
        ),
    ),
    *LAYER_VERBS,
    *ACCEPT_VERBS,
    Verb(
        "help",
        "Show help on the program or a verb",
        "Without VERB it lists the verbs and the global options.",
        ("substrate-runtime help create",),
        (Operand("VERB", required=False),),
        module="substrate.cli.help",
    ),
    Verb(
        "completion",
        "Print the completion script of a shell",
        "The script asks the program itself what may come next, so it never goes out of date.",
        (
            "substrate-runtime completion bash > /etc/bash_completion.d/substrate-runtime",
            "substrate-runtime completion fish > ~/.config/fish/completions/substrate-runtime.fish",
        ),
        (Operand("SHELL", choices=("bash", "zsh", "fish")),),
        (
            Option(
                ("--answer",),
                "Answer the question a script asks through the environment; used by the scripts.",
            ),
        ),
        module="substrate.cli.completion",
    ),
)

EXIT_STATUSES = (
    ("0", "success"),
    ("1", "failure"),
    ("2", "the command line or config.json is wrong"),
    ("3", "a program or library that must be installed is missing"),
    ("4", "this machine or this version cannot do what was asked"),
    ("5", "refused because it would be unsafe"),
    ("6", "the project was changed meanwhile where the call would change it"),
    ("126", "the program of the world is there and cannot be executed"),
    ("127", "the program of the world is not there"),
    ("128+N", "the program of the world was ended by signal N"),
    ("130", "interrupted from the keyboard"),
)

RUNTIME = Program(
    PROGRAM,
    "Run OCI bundles in worlds: containers whose every change can be seen.",
    GLOBAL_OPTIONS,
    VERBS,
    EXIT_STATUSES,
)
