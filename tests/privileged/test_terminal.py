"""A world on a terminal: job control, sizes, Ctrl-C, and the caller's terminal afterwards."""

from __future__ import annotations

import array
import os
import select
import socket
import subprocess
import termios
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED, "pty")

SHELL = ("bash", "--norc", "--noprofile", "-i")
PROMPT = ("--env", "PS1=ready> ", "--env", "INPUTRC=/dev/null", "--env", "TERM=dumb")


def on_terminal(runtime: Runtime, *words: str | Path) -> Terminal:
    """Start a call of the runtime on a terminal of its own."""
    argv = [*runtime.argv, *map(str, words)]
    return Terminal(argv, runtime.environment, str(runtime.folder))


@pytest.fixture
def shell(any_runtime: Runtime) -> Iterator[Terminal]:
    """An interactive bash in a world of the host's programs."""
    project = calls.public_directory(any_runtime, "project")
    place = ("--bundle", "host-project", "--project", project)
    with on_terminal(any_runtime, "run", "-t", *place, *PROMPT, "w", *SHELL) as terminal:
        terminal.expect("ready> ")
        yield terminal


def test_shell_in_a_world_has_job_control(shell: Terminal) -> None:
    # It says when it runs in the foreground: what is typed before that is the shell's to read.
    # One process: dash, stopped between its vfork and the child's execve, waits for that child.
    job = '$|=1; $SIG{CONT} = sub { print "aga"."in\\n" }; print "he"."re\\n"; sleep 1 while 1'
    shell.type(f"perl -e '{job}'\n")
    shell.expect("here\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    assert "Stopped" in shell.ask("jobs")
    shell.type("fg\n")
    shell.expect("again\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    assert "[1]+ perl" in shell.ask("bg")
    assert "Running" in shell.ask("jobs")
    assert "[2]" in shell.ask("sleep 500 &")
    shell.ask("kill %1 %2; wait")
    shell.ask("true")
    assert "[" not in shell.ask("jobs")
    shell.type("exit 6\n")
    assert shell.wait() == 6


def test_ctrl_c_ends_the_command_and_not_the_shell(shell: Terminal) -> None:
    shell.type("sh -c 'echo he\"\"re; exec cat'\n")
    shell.expect("here\r\n")
    shell.type("typed\n")
    assert shell.expect("typed\r\ntyped\r\n") == ""
    shell.type("\x03")
    shell.expect("ready> ")
    shell.type('echo "status $?"\n')
    shell.expect("status 130")
    shell.type("exit 5\n")
    assert shell.wait() == 5


def test_program_sees_every_size_of_the_terminal(shell: Terminal) -> None:
    assert "24 80" in shell.ask("stty size")
    for rows, columns in ((33, 101), (10, 20)):
        shell.resize(rows, columns)
        # The size reaches the world by way of a signal to the runtime.
        calls.until(partial(_has_size, shell, f"{rows} {columns}"), "the new size")
        assert str(columns) in shell.ask("echo $COLUMNS")


def _has_size(terminal: Terminal, size: str) -> bool:
    return size in terminal.ask("stty size")


def test_terminal_of_a_world_is_its_own(shell: Terminal) -> None:
    assert "/dev/pts/0" in shell.ask("tty")
    assert "works" in shell.ask("echo works > /dev/tty")
    assert "works" in shell.ask("echo works > /dev/stderr")
    assert "\n0\nptmx\n" in shell.ask("ls -1 /dev/pts")
    assert "crw" in shell.ask("ls -l /dev/console")


def test_callers_terminal_is_as_before_after_a_normal_end(shell: Terminal) -> None:
    assert shell.settings != shell.before, "the terminal was never raw"
    shell.type("exit\n")
    assert shell.wait() == 0
    assert shell.settings == shell.before


def test_callers_terminal_is_as_before_when_the_world_is_killed(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sh", "-c", "echo ready; sleep 600")
    with on_terminal(any_runtime, "run", "-t", "--bundle", bundle, "w") as terminal:
        terminal.expect("ready")
        any_runtime("kill", "w", "KILL").ok()
        assert terminal.wait() == 137
        assert terminal.settings == terminal.before


def test_callers_terminal_is_as_before_when_the_start_fails(any_runtime: Runtime) -> None:
    with on_terminal(
        any_runtime, "run", "-t", "-b", any_runtime.bundle("missing"), "w"
    ) as terminal:
        assert terminal.wait() == 127
        assert "executable file not found" in terminal.seen
        assert terminal.settings == terminal.before


def test_exec_gets_a_terminal_of_its_own(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", "sleep", "600")
    with on_terminal(any_runtime, "exec", "-t", "w", "sh") as terminal:
        terminal.expect("/ # ")
        assert "/dev/pts/0" in terminal.ask("tty")
        assert "24 80" in terminal.ask("stty size")
        terminal.resize(40, 90)
        calls.until(partial(_has_size, terminal, "40 90"), "the new size")
        terminal.type("exit 4\n")
        assert terminal.wait() == 4
        assert terminal.settings == terminal.before


def test_ctrl_c_without_a_terminal_reaches_the_program(any_runtime: Runtime) -> None:
    script = "trap 'echo got; exit 3' INT; echo ready; while :; do sleep 0.02; done"
    bundle = any_runtime.bundle("sh", "-c", script)
    with on_terminal(any_runtime, "run", "--bundle", bundle, "w") as terminal:
        terminal.expect("ready\r\n")
        terminal.type("\x03")
        assert terminal.wait() == 3
        assert "got" in terminal.seen


def test_output_of_a_terminal_is_complete(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sh", "-c", "seq 20000; echo last")
    with on_terminal(any_runtime, "run", "-t", "--bundle", bundle, "w") as terminal:
        assert terminal.wait() == 0
        assert terminal.seen.replace("\r", "").split() == [*map(str, range(1, 20001)), "last"]


def test_piped_input_of_a_terminal_ends(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("cat")
    done = any_runtime("run", "-t", "--bundle", bundle, "w", stdin="line\n").ok()
    assert done.stdout.replace("\r", "").splitlines()[-1] == "line"


@pytest.fixture
def console(any_runtime: Runtime) -> Iterator[socket.socket]:
    """A socket that waits for the master of a terminal."""
    with socket.socket(socket.AF_UNIX) as listening:
        path = str(any_runtime.folder / "console")
        listening.bind(path)
        os.chown(path, any_runtime.uid, any_runtime.gid)
        listening.listen()
        listening.settimeout(10)
        yield listening


def received_master(console: socket.socket) -> int:
    """Accept a connection and return the descriptor that came with its message."""
    connection, _ = console.accept()
    with connection:
        fds = array.array("i")
        message, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
        assert message == b"/dev/ptmx"
        fds.frombytes(ancillary[0][2])
    assert len(fds) == 1
    return fds[0]


def shown(master: int, end: bytes) -> bytes:
    """Return what a terminal shows up to `end`."""
    text = b""
    while end not in text:
        assert select.select([master], [], [], 10)[0], text
        text += os.read(master, 4096)
    return text


@pytest.mark.parametrize("verb", ["create", "run", "exec"])
def test_console_socket_receives_the_master(
    any_runtime: Runtime, console: socket.socket, verb: str
) -> None:
    process = {"terminal": True, "consoleSize": {"height": 30, "width": 70}}
    args = ("sh", "-c", "stty size; read line; echo got $line")
    given = ("--console-socket", any_runtime.folder / "console")
    if verb == "exec":
        calls.run_detached(any_runtime, "w", "sleep", "600")
        any_runtime("exec", "--detach", "--tty", *given, "w", *args).ok()
    else:
        bundle = any_runtime.bundle(*args, process=process)
        detach = ["--detach"] if verb == "run" else []
        any_runtime(verb, *detach, *given, "--bundle", bundle, "w").ok()
    master = received_master(console)
    try:
        if verb == "create":
            any_runtime("start", "w").ok()
        os.write(master, b"hello\n")
        text = shown(master, b"got hello")
        assert termios.tcgetattr(master)
        assert verb == "exec" or b"30 70" in text
    finally:
        os.close(master)


def test_detached_terminal_without_an_owner_is_refused(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sleep", "600", process={"terminal": True})
    for words in (("create", "--bundle", bundle, "w"), ("run", "-d", "--bundle", bundle, "w")):
        done = any_runtime(*words)
        assert done.status != 0
        assert "--console-socket" in done.stderr
        assert any_runtime.worlds() == []


def test_runtime_killed_on_a_terminal_ends_no_one_else(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("sh", "-c", "echo ready; exec sleep 600")
    with on_terminal(any_runtime, "run", "-t", "--bundle", bundle, "w") as terminal:
        terminal.expect("ready")
        pid = calls.state(any_runtime, "w")["pid"]
        subprocess.run(["kill", "-KILL", str(terminal.process.pid)], check=True)
        terminal.process.wait()
        # The pty is gone with its master; SIGHUP is nothing to a pid 1 that did not ask for it.
        any_runtime("delete", "--force", "w").ok()
        calls.until_gone([pid])
