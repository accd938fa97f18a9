"""Terminals: a payload may spoil its own; the caller's comes back, and nobody waits for ever."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from substrate.world.foreground import ForwardedSignals
from substrate.world.process import Started
from tests.support.attack import ATTACK
from tests.support.calls import bare
from tests.support.features import requires
from tests.support.runtime import PYTHON
from tests.support.terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.support.attack import Place
    from tests.support.runtime import Runtime

pytestmark = requires(*ATTACK, "pty")

# The session leader of the terminal, as a shell is: runs a command, then reads what was typed.
_SHELL = """
"$@" >/dev/null 2>&1
echo "status $?"
while read -r -t 0.2 line; do echo "typed $line"; done
true
"""

# Leads the session of a terminal, hears nothing, and puts a group in front whose leader ends; it
# has one more process if there is a word.
_GROUP = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTTOU):
    signal.signal(number, signal.SIG_IGN)
read, write = os.pipe()
leader = os.fork()
if leader == 0:
    os.setpgid(0, 0)
    if len(sys.argv) > 1 and os.fork() == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: print("heard", number, flush=True))
        os.write(write, b"1")
        while True:
            signal.pause()
    os._exit(0)
os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
if len(sys.argv) > 1:
    os.read(read, 1)
os.tcsetpgrp(0, leader)
os.waitpid(leader, 0)
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_nothing_is_typed_into_an_inherited_terminal(place: Place) -> None:
    # Without -t the caller's terminal is the payload's input; what is typed there, the caller's
    # shell would execute when the world has ended. With and without the filter.
    argv, _ = bare(place.runtime)
    for filtering in ("default", "unconfined"):
        words = place.words(substrate={"seccomp": {"profile": filtering}})
        call = [*argv, "run", *map(str, words), "w", "./typist"]
        assert _shell_on_terminal(place.runtime, call) == "status 0\n", filtering


def test_the_typist_types_where_nothing_stops_it(programs: Path, runtime: Runtime) -> None:
    # Positive control of the test above. Some kernels let nobody do it: dev.tty.legacy_tiocsti.
    allowed = Path("/proc/sys/dev/tty/legacy_tiocsti")
    if allowed.exists() and allowed.read_text("ascii").strip() == "0":
        pytest.skip("this kernel lets nobody type")
    assert "typed" in _shell_on_terminal(runtime, [str(programs / "typist")])


def test_a_terminal_left_raw_and_silent_is_the_caller_s_own_again(runtime: Runtime) -> None:
    script = "stty raw -echo; printf '\\033[?25l\\033[2J'; exit 3"
    bundle = runtime.bundle("sh", "-c", script, process={"terminal": True})
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        argv, environment = bare(runtime)
        done = subprocess.run(
            [*argv, "run", "--bundle", str(bundle), "w"], stdin=slave, stdout=slave, stderr=slave,
            env=environment, timeout=20, check=False,
        )  # fmt: skip
        assert done.returncode == 3, os.read(master, 4096)
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_input_that_nobody_reads_does_not_hold_the_caller(runtime: Runtime) -> None:
    for mode in ("stty raw -echo", "true"):
        script = f"{mode}; sleep 0.3; exit 3"
        bundle = runtime.bundle("sh", "-c", script, process={"terminal": True})
        result = runtime("run", "--bundle", bundle, "w", stdin=b"x" * 500_000, timeout_s=20)
        assert result.status == 3


def test_a_flood_of_output_is_delivered_and_ends(runtime: Runtime) -> None:
    script = "yes flood | head -n 100000; exit 4"
    bundle = runtime.bundle("sh", "-c", script, process={"terminal": True})
    result = runtime("run", "--bundle", bundle, "w", timeout_s=30)
    assert result.status == 4
    assert result.stdout.count("flood") == 100_000


def test_what_stays_behind_on_the_terminal_does_not_hold_the_caller(runtime: Runtime) -> None:
    script = "(trap '' HUP; exec sleep 60) & vhangup 2>/dev/null; exit 5"
    bundle = runtime.bundle("sh", "-c", script, process={"terminal": True})
    began = time.monotonic()
    assert runtime("run", "--bundle", bundle, "w", timeout_s=20).status == 5
    assert time.monotonic() - began < 15


def test_a_terminal_that_the_payload_replaced_is_not_opened(runtime: Runtime) -> None:
    # `exec -t` opens the world's ptmx: a payload that owns /dev may have put anything there.
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "type": "tmpfs", "options": ["mode=777"]},
    ]
    fakes = {
        "fifo": "mkfifo /dev/pts/ptmx",
        "link": "ln -s /proc/1/fd/0 /dev/pts/ptmx",
        "file": "echo >/dev/pts/ptmx",
        "directory": "mkdir /dev/pts/ptmx",
    }
    for name, make in fakes.items():
        script = f"mkdir /dev/pts; {make}; exec sleep 60"
        bundle = runtime.bundle("sh", "-c", script, mounts=mounts)
        runtime("run", "--detach", "--bundle", bundle, name).ok()
        wait = "until [ -L /dev/pts/ptmx -o -e /dev/pts/ptmx ]; do :; done"
        runtime("exec", name, "sh", "-c", wait).ok()
        result = runtime("exec", "--tty", name, "echo", "had", timeout_s=10)
        assert result.status != 0, name
        assert "cannot open a terminal" in result.stderr, result
    good = runtime.bundle("sleep", "60")
    runtime("run", "--detach", "--bundle", good, "good").ok()
    assert runtime("exec", "--tty", "good", "echo", "had").ok().stdout == "had\n"


def test_no_signal_goes_to_a_group_of_the_host_that_has_the_number_of_a_dead_one(
    runtime: Runtime,
) -> None:
    with (
        _group_in_front(runtime) as (terminal, started),
        _process_called(os.tcgetpgrp(terminal.master)) as victim,
    ):
        for number in (signal.SIGINT, signal.SIGTERM):
            started.signal(number)
            _forward(started, number)
            assert os.waitid(os.P_PID, victim, os.WEXITED | os.WNOHANG) is None, number
        # The control: that is the number which the terminal tells.
        assert os.tcgetpgrp(terminal.master) == victim
        os.killpg(victim, signal.SIGINT)
        os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)


def test_no_signal_goes_to_whoever_has_the_number_of_a_process_that_was_reaped() -> None:
    started = Started(os.posix_spawn("/bin/true", ["true"], {}, setpgroup=0))
    assert started.reap() == 0
    with _process_called(started.pid) as victim:
        started.signal(signal.SIGTERM)
        assert os.waitid(os.P_PID, victim, os.WEXITED | os.WNOHANG) is None


def test_a_pipeline_whose_leader_has_ended_hears_what_the_keyboard_sends(runtime: Runtime) -> None:
    with _group_in_front(runtime, "pipeline") as (terminal, started):
        started.signal(signal.SIGINT)
        terminal.expect("heard 2")
        started.signal(signal.SIGTERM)
        terminal.expect("heard 15")
        _forward(started, signal.SIGINT)
        terminal.expect("heard 2")


@contextmanager
def _group_in_front(
    runtime: Runtime, *words: str
) -> Generator[tuple[Terminal, Started], None, None]:
    argv = [str(PYTHON), "-c", _GROUP, *words]
    with Terminal(argv, runtime.environment, str(runtime.folder)) as terminal:
        terminal.expect("ready")
        started = Started(terminal.process.pid, terminal.master)
        try:
            yield terminal, started
        finally:
            started.kill_all()
            os.close(started.pidfd)


@contextmanager
def _process_called(number: int) -> Generator[int, None, None]:
    """A process with a pid of our choice that leads a group."""
    for _ in range(100):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1), "ascii")
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setpgroup=0)
        try:
            if pid == number:
                yield pid
                return
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    pytest.fail(f"others take the number {number} again and again")


def _forward(started: Started, number: int) -> None:
    """Have a signal passed on as in the foreground."""
    attended = ForwardedSignals(started.pid, terminal_fd=started.master_fd)
    with attended:
        attended.begin()
        signal.raise_signal(number)


def _shell_on_terminal(runtime: Runtime, command: list[str]) -> str:
    """Run a command from a shell with a terminal of its own; return what the shell says."""
    master, slave = pty.openpty()
    try:
        os.fchmod(slave, 0o666)
        return subprocess.run(
            ["setsid", "--ctty", "--wait", "bash", "-c", _SHELL, "bash", *command],
            stdin=slave, stdout=subprocess.PIPE, env=bare(runtime)[1], text=True, timeout=30,
            cwd=runtime.folder, check=True,
        ).stdout  # fmt: skip
    finally:
        os.close(master)
        os.close(slave)
