"""Words in, words out: the command line of ci/vm, the guests' command lines, the guest's script.

Nothing here starts, reads or mounts anything; that is in vm_session.py and vm_isolation.py.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Where the folder that host and machine share is on the host, in a mount namespace of its own.
BENCH = "/dev/shm"  # noqa: S108 -- a tmpfs is mounted over it
SHARED = f"{BENCH}/shared"
DISK = f"{BENCH}/disk"

_PASSED_THROUGH = ("CI", "SUBSTRATE_TESTS_MUST_RUN", "SUBSTRATE_TESTS_MAY_SKIP", "NO_COLOR")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
_DESCRIPTION = """\
Run COMMAND as root in a virtual machine over this machine's own files, in the same directory.
The machine sees the root file system as it is now; what it writes goes to its memory and is gone
with it. cgroup v2 has every controller; the command's output and exit status are those of ci/vm.
"""
_EPILOG = """\
the small machine (user-mode-linux, 6.1, one processor) is up in 2 s; it lacks cpuset, nftables,
time namespaces and Landlock. The full one (QEMU without KVM, 6.12, two processors) is up in 10 s,
has everything and computes about 10 times slower.

examples:
  ci/vm -- cat /sys/fs/cgroup/cgroup.controllers
  ci/vm -- .venv/bin/python -m pytest -q tests/privileged
  ci/vm --systemd -- systemctl status
  ci/vm --full --timeout 900 --env SUBSTRATE_TESTS_MUST_RUN=1 -- ci/test privileged
  ci/vm -- sh -c '.venv/bin/coverage run -m pytest -q; mv .coverage.* "$SUBSTRATE_VM_OUT"'

exit status: the command's own; 124 after the time-out; 2 wrong usage; 3 a package is missing and
cannot be installed; 4 this machine cannot run it; 125 the machine did not boot or broke down.
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"(\d+)([MG]?)")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t\n\x20-\x7e\u00a0-\uffff]")


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller of ci/vm wants."""

    command: tuple[str, ...]
    directory: str
    out: str
    environment: tuple[tuple[str, str], ...] = ()
    full: bool = False
    systemd: bool = False
    timeout_s: float = 1800.0
    boot_timeout_s: float = 60.0
    memory_mib: int = 0
    quiet: bool = False
    console: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be booted and the folder of its modules (…/modules/RELEASE)."""

    image: str
    modules: str


@dataclass(frozen=True, slots=True)
class Guest:
    """The programs that make one machine: file servers with their sockets, then the machine.

    With `disk`, an empty ext4 file system is at DISK before they start.
    """

    name: str
    machine: tuple[str, ...]
    disk: bool = False
    servers: tuple[tuple[str, tuple[str, ...]], ...] = ()


def parse(arguments: Sequence[str], directory: str, environ: Mapping[str, str]) -> Request:
    """Return what the command line asks for; exits with status 2 when it is wrong."""
    parser = _parser()
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    command = words[end + 1 :]
    if not command:
        parser.error("no command; put it behind `--`: ci/vm -- uname -a")
    passed = [(name, environ[name]) for name in _PASSED_THROUGH if name in environ]
    full: bool = options.full
    return Request(
        command=tuple(command),
        directory=directory,
        out=options.out or f"{directory}/.cache/vm-out",
        environment=(*passed, *options.env),
        full=full,
        systemd=options.systemd,
        timeout_s=options.timeout,
        boot_timeout_s=options.boot_timeout,
        memory_mib=options.mem or (2048 if full else 1024),
        quiet=options.quiet,
        console=options.console,
    )


def settings(request: Request, kernel: Kernel) -> str:
    """Return the assignments that vm.d/init reads."""
    return _assignments(
        {
            "KIND": "full" if request.full else "small",
            "SYSTEMD": "yes" if request.systemd else "",
            "MODULES": kernel.modules,
            "DIRECTORY": request.directory,
            "OUT": request.out,
            "HOST_NAME": "vm",
        }
    )


def command_script(request: Request) -> str:
    """Return the shell script that runs the command with its environment and nothing else."""
    environment = {
        **_ENVIRONMENT,
        "PWD": request.directory,
        "SUBSTRATE_VM": "full" if request.full else "small",
        "SUBSTRATE_VM_OUT": request.out,
        **dict(request.environment),
    }
    words = [f"{name}={value}" for name, value in environment.items()]
    # `exec` in a shell, not `env COMMAND`: a command may have `=` in its name.
    run = ["env", "-i", *words, "/bin/sh", "-c", 'exec "$@"', "sh", *request.command]
    return f"cd {shlex.quote(request.directory)} || exit 125\nexec {shlex.join(run)}\n"


def small_guest(request: Request, kernel: Kernel) -> Guest:
    """Return user-mode-linux: the kernel is an ordinary program and reads the host's files."""
    arguments = (
        f"mem={request.memory_mib}M",
        "root=none",
        "rootfstype=hostfs",
        "rootflags=/",
        "con=null",
        "con0=null,fd:1",
        "ssl=null",
        f"ubd0={DISK}",
        # Its control socket and process number; the home directory is read-only.
        f"uml_dir={BENCH}/uml/",
        *_kernel_words("tty0"),
    )
    return Guest("user-mode-linux", (kernel.image, *arguments), disk=True)


def full_guest(request: Request, kernel: Kernel, virtiofsd: str) -> Guest:
    """Return QEMU without KVM, and two file servers: the host's root and the shared folder."""
    root, shared = f"{BENCH}/root.socket", f"{BENCH}/shared.socket"
    memory = request.memory_mib
    words = ("root=root", "rootfstype=virtiofs", "console=ttyS0", "mitigations=off", "nokaslr")
    arguments = (
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "pc,memory-backend=mem", "-accel", "tcg,thread=multi"),
        # QEMU 7.2 corrupts flags around cmpxchg16b when threads emulate several processors.
        *("-cpu", "max,-cx16", "-smp", "2", "-m", f"{memory}M", "-rtc", "base=utc"),
        *("-object", f"memory-backend-memfd,id=mem,size={memory}M,share=on"),
        *_file_system("root", root),
        *_file_system("shared", shared),
        *("-serial", "stdio", "-kernel", kernel.image),
        *("-append", " ".join((*words, *_kernel_words("ttyS0")))),
    )
    servers = (
        # Nobody changes the host's files below the machine, as far as it knows.
        (root, _file_server(virtiofsd, "/", "always")),
        (shared, _file_server(virtiofsd, SHARED, "none")),
    )
    return Guest("QEMU", ("qemu-system-x86_64", *arguments), servers=servers)


def last_lines(console: bytes, count: int = 25) -> str:
    """Return the end of what a kernel wrote to its console, free of control characters."""
    text = console.decode("utf-8", "replace").replace("\r", "")
    lines = [_CONTROL.sub("", line).rstrip() for line in text.split("\n")]
    return "\n".join(f"  | {line}" for line in [line for line in lines if line][-count:])


def _kernel_words(console: str) -> tuple[str, ...]:
    return (
        "ro",
        "quiet",
        f"init={SHARED}/init",
        # The shared folder is below /dev; vm.d/init mounts devtmpfs itself, later.
        "devtmpfs.mount=0",
        "cgroup_no_v1=all",
        # End at once, so that the host notices.
        "panic=-1",
        f"console={console}",
    )


def _file_system(tag: str, socket: str) -> tuple[str, ...]:
    return (
        *("-chardev", f"socket,id={tag},path={socket}"),
        *("-device", f"vhost-user-fs-pci,queue-size=1024,chardev={tag},tag={tag}"),
    )


def _file_server(program: str, source: str, cache: str) -> tuple[str, ...]:
    options = ("-o", f"source={source}", "-o", "sandbox=chroot", "-o", f"cache={cache}")
    return (program, "--fd=3", *options)


def _assignments(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ci/vm",
        usage="ci/vm [OPTION…] -- COMMAND…",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--full", action="store_true", help="the full machine instead of the small one")
    add("--systemd", action="store_true", help="with systemd as process 1, and its message bus")
    add(
        "--timeout",
        type=_seconds,
        default=1800.0,
        metavar="S",
        help="end everything after so many seconds (1800)",
    )
    add("--mem", type=_mebibytes, metavar="M", help="memory in MiB, or 2G (1024; full: 2048)")
    add(
        "--env",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a variable for the command; {', '.join(_PASSED_THROUGH)} are passed through",
    )
    add(
        "--out",
        metavar="DIR",
        help="where files come back to that the command writes to this directory, which it also"
        " finds in $SUBSTRATE_VM_OUT (.cache/vm-out)",
    )
    add(
        "--boot-timeout",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="give up on a machine that has not started the command by then (60)",
    )
    add("--console", action="store_true", help="show the kernel's console on stderr")
    add("--quiet", action="store_true", help="no progress on stderr")
    return parser


def _seconds(word: str) -> float:
    seconds = float(word)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {word!r}")
    return seconds


def _mebibytes(word: str) -> int:
    match = _SIZE.fullmatch(word)
    if not match or int(match[1]) * (1024 if match[2] == "G" else 1) < 128:
        raise argparse.ArgumentTypeError(f"not a size of at least 128M: {word!r}")
    return int(match[1]) * (1024 if match[2] == "G" else 1)


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {word!r}")
    return name, value
