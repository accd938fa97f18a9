"""Programs and builtins that run another command: tables, and nothing but tables.

Options are given as for getopt(3): a letter, then `:` when a value follows it (`::` only in the
same word); long names end in `=` when a value follows. An option that is not here ends the
judging: nobody can say where the command begins.
"""

from __future__ import annotations

from substrate.record import record


@record
class Prefix:
    """`NAME [OPTION…] [OPERAND…] COMMAND [ARGUMENT…]`."""

    short: str = ""
    long: tuple[str, ...] = ()
    # How many operands come before the command.
    operands: int = 0
    # `NAME=value` words before the command are assignments.
    assigns: bool = False
    # Options whose value is a shell text that is run.
    scripts: tuple[str, ...] = ()
    # Options whose value is split into words in front of the rest, as env -S does.
    splits: tuple[str, ...] = ()
    # Options with which nothing is run.
    quiet: tuple[str, ...] = ()
    # Options that make what follows unknown; "" stands for every call.
    unknown: tuple[str, ...] = ()
    # The command's words are joined and given to a shell.
    joins: bool = False
    # More arguments, from elsewhere, follow the ones that are written.
    adds: bool = False
    # Options whose value stands for such an argument inside the words.
    replaces: tuple[str, ...] = ()
    # `-5` is an option, as for nice.
    numbers: bool = False
    # Options may stand behind operands too.
    permutes: bool = False


_SU = Prefix(
    "c:fg:G:lmps:w:PT",
    (
        *("command=", "session-command=", "fast", "group=", "supp-group=", "login", "pty"),
        *("preserve-environment", "shell=", "whitelist-environment=", "no-pty"),
    ),
    scripts=("c", "command", "session-command"),
    unknown=("",),
    permutes=True,
)

PREFIXES: dict[str, Prefix] = {
    "!": Prefix(),
    "busybox": Prefix(quiet=("list", "help"), long=("list", "help")),
    "builtin": Prefix(),
    "chroot": Prefix(long=("groups=", "userspec=", "skip-chdir"), operands=1),
    "chrt": Prefix(
        "abdfiomprRvT:P:D:",
        (
            *("all-tasks", "batch", "deadline", "fifo", "idle", "other", "rr", "reset-on-fork"),
            *("sched-runtime=", "sched-period=", "sched-deadline=", "verbose"),
        ),
        operands=1,
        unknown=("p",),
    ),
    "command": Prefix("pvV", quiet=("v", "V")),
    "coproc": Prefix(),
    "doas": Prefix("C:Lnsu:", unknown=("s",)),
    "dbus-run-session": Prefix(long=("config-file=", "dbus-daemon=")),
    "env": Prefix(
        "iu:C:S:0v",
        (
            *("ignore-environment", "unset=", "chdir=", "split-string=", "null", "debug"),
            *("block-signal", "default-signal", "ignore-signal", "list-signal-handling", "argv0="),
        ),
        assigns=True,
        splits=("S", "split-string"),
    ),
    "exec": Prefix("cla:"),
    "fakeroot": Prefix("l:s:i:ub:", ("lib=", "faked=", "unknown-is-real")),
    "firejail": Prefix(unknown=("",)),
    "flock": Prefix(
        "sxenouw:E:c:Fv",
        (
            *("shared", "exclusive", "unlock", "nonblock", "nb", "wait=", "timeout=", "close"),
            *("conflict-exit-code=", "command=", "no-fork", "verbose"),
        ),
        operands=1,
        scripts=("c", "command"),
    ),
    "ionice": Prefix("c:n:P:p:u:t", ("class=", "classdata=", "pgid=", "pid=", "uid=", "ignore")),
    "linux32": Prefix(),
    "linux64": Prefix(),
    "ltrace": Prefix("cfttTiCSo:e:p:s:u:n:A:a:l:x:"),
    "nice": Prefix("n:", ("adjustment=",), numbers=True),
    "nohup": Prefix(),
    "noglob": Prefix(),
    "numactl": Prefix(unknown=("",)),
    "pkexec": Prefix(long=("user=", "disable-internal-agent", "keep-cwd")),
    "prlimit": Prefix(unknown=("",)),
    "proot": Prefix(unknown=("",)),
    "bwrap": Prefix(unknown=("",)),
    "nsenter": Prefix(unknown=("",)),
    "unshare": Prefix(
        "imnpuUCTfrc",
        (
            *("ipc", "mount", "net", "pid", "uts", "user", "cgroup", "time", "fork"),
            *("map-root-user", "map-current-user", "mount-proc", "kill-child"),
        ),
    ),
    "parallel": Prefix(unknown=("",)),
    "rlwrap": Prefix("a"),
    "runuser": _SU,
    "script": Prefix(
        "aB:c:eE:fI:m:o:O:qT:t::",
        ("append", "command=", "return", "flush", "quiet"),
        operands=1,
        scripts=("c", "command"),
    ),
    "setarch": Prefix("R", ("addr-no-randomize",), operands=1),
    "setpriv": Prefix(unknown=("",)),
    "setsid": Prefix("cfw", ("ctty", "fork", "wait")),
    "start-stop-daemon": Prefix(unknown=("",)),
    "stdbuf": Prefix("i:o:e:", ("input=", "output=", "error=")),
    "strace": Prefix(
        "cCdfFhiknqrtTvVxXyYzZa:b:e:E:I:o:O:p:P:s:S:u:U:wA",
        ("follow-forks", "output=", "trace=", "quiet"),
    ),
    "su": _SU,
    "sudo": Prefix(
        "ABbC:D:EeHg:h:iKklNnPp:R:r:Sst:T:U:u:Vv",
        (
            *("askpass", "background", "chdir=", "preserve-env", "set-home", "group=", "host="),
            *("login", "reset-timestamp", "non-interactive", "prompt=", "chroot=", "stdin"),
            *("shell", "user=", "command-timeout=", "preserve-groups", "no-update"),
        ),
        assigns=True,
        quiet=("K", "V", "v"),
    ),
    "systemd-run": Prefix(unknown=("",)),
    "taskset": Prefix("acp", ("all-tasks", "cpu-list", "pid"), operands=1, unknown=("p", "pid")),
    "time": Prefix(
        "apqvVf:o:", ("append", "portability", "quiet", "verbose", "format=", "output=")
    ),
    "timeout": Prefix(
        "fk:ps:v",
        ("foreground", "kill-after=", "preserve-status", "signal=", "verbose"),
        operands=1,
    ),
    "toybox": Prefix(long=("long", "help", "version"), quiet=("long", "help", "version")),
    "tsocks": Prefix(),
    "torsocks": Prefix("iP:u:", ("isolate", "port=", "user=")),
    "unbuffer": Prefix("p"),
    "watch": Prefix(
        "bcCdegn:pq:rtvwx",
        (
            *("beep", "color", "differences", "errexit", "chgexit", "interval=", "precise"),
            *("no-rerun", "no-title", "no-wrap", "exec"),
        ),
        joins=True,
    ),
    "xargs": Prefix(
        "0a:d:E:e::I:i::L:l::n:oP:prs:tx",
        (
            *("null", "arg-file=", "delimiter=", "eof", "replace", "max-lines", "max-args="),
            *("open-tty", "max-procs=", "interactive", "no-run-if-empty", "max-chars="),
            *("verbose", "exit", "process-slot-var="),
        ),
        adds=True,
        replaces=("I", "i", "replace"),
    ),
    "xvfb-run": Prefix(
        "ae:f:n:p:s:lw:", ("auto-servernum", "error-file=", "server-num=", "server-args=")
    ),
}

# The dynamic loader runs the program it is given.
LOADER = "ld-*.so*"

# Shells that can be judged: whether they may be another than bash.
SHELLS = {"bash": False, "sh": True, "dash": True, "ash": True, "rbash": False}
# Shells whose language is another; and what this table calls them when it says so.
OTHER_SHELLS = frozenset(
    (
        *("zsh", "ksh", "ksh93", "mksh", "lksh", "oksh", "yash", "posh", "fish", "csh", "tcsh"),
        *("rc", "es", "nu", "elvish", "xonsh", "pwsh", "osh", "ysh", "scsh", "mash", "hush"),
    )
)
SHELL_SHORT = "abcefhiklmnprstuvxBCDEHPT"
SHELL_VALUES = "oO"
SHELL_LONG = ("login", "norc", "noprofile", "posix", "restricted", "verbose", "noediting")

# Builtins whose arguments are shell text, or make text run later.
EVAL = frozenset(("eval",))
SOURCE = frozenset((".", "source"))
UNKNOWN_BUILTINS = {
    "bind": "bind may run a command on a key",
    "complete": "complete may run a command later",
    "compgen": "compgen may run a command",
    "enable": "enable may load a builtin or hide one",
    "fc": "fc runs commands from the history",
    "hash": "hash may give a program another's name",
    "mapfile": "mapfile may run a callback",
    "readarray": "readarray may run a callback",
}
# Of these only what is named here is unknown; without it they are as any builtin.
UNKNOWN_ONLY_WITH = {
    "enable": ("f", "n"),
    "hash": ("p",),
    "mapfile": ("C",),
    "readarray": ("C",),
    "compgen": ("C", "F"),
    "complete": ("C", "F"),
}

FIND_RUNS = frozenset(("-exec", "-execdir", "-ok", "-okdir"))

# Variables that decide which program a name is.
LOOKUP_VARIABLES = frozenset(("PATH", "LD_LIBRARY_PATH"))

# Variables whose value is run: as a shell text ("text"), or in a way not judged here ("").
CODE_VARIABLES = {
    **dict.fromkeys(("PROMPT_COMMAND", "PAGER", "MANPAGER", "GIT_PAGER", "EDITOR"), "text"),
    **dict.fromkeys(("VISUAL", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_SSH_COMMAND"), "text"),
    **dict.fromkeys(("GIT_EXTERNAL_DIFF", "LESSOPEN", "LESSCLOSE", "BROWSER"), "text"),
    **dict.fromkeys(("BASH_ENV", "ENV", "PS0", "PS1", "PS2", "PS3", "PS4"), ""),
    **dict.fromkeys(("SHELLOPTS", "BASHOPTS", "BASH_ALIASES", "BASH_CMDS"), ""),
    **dict.fromkeys(("LD_PRELOAD", "LD_AUDIT", "GIT_EXEC_PATH", "GIT_ASKPASS", "SHELL"), ""),
}
