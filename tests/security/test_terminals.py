"""Terminals: a payload may spoil its own; the caller's comes back, and nobody waits for ever."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.attack import ATTACK
from tests.support.calls import bare
from tests.support.features import requires

if TYPE_CHECKING:
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
