"""Real programs run under the shipped filters. Needs no root; slower than the unit tier."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from substrate.kernel import filters, linux
from substrate.kernel.constants import Pr
from substrate.seccomp.compile import compile_filter
from substrate.seccomp.profiles import load_profile, profile_names

if TYPE_CHECKING:
    from pathlib import Path

THREADS = (
    "import threading, subprocess, multiprocessing, asyncio\n"
    "found = []\n"
    "worker = threading.Thread(target=found.append, args=(1,)); worker.start(); worker.join()\n"
    "assert found == [1]\n"
    "assert subprocess.run(['true']).returncode == 0\n"
    "lock = multiprocessing.Lock()\n"
    "asyncio.run(asyncio.sleep(0))\n"
)
GIT = (
    "git init -q . && echo a > a && git add a"
    " && git -c user.name=a -c user.email=a@b commit -qm first && git log --oneline"
)
MAKE = (
    "echo 'int main(void) { return 0; }' > a.c"
    " && printf 'a: a.c\\n\\tgcc -o $@ $<\\n' > Makefile && make -s && ./a"
)
NODE = (
    "const { Worker } = require('worker_threads');"
    "new Worker('1', { eval: true });"
    "require('fs').readFile('/etc/passwd', (error) => { if (error) process.exit(1); });"
)
COMMANDS = {
    "bash": ["bash", "-c", "(sleep 0.01 &); echo a | cat && wait"],
    "python": [sys.executable, "-c", THREADS],
    "pip": [sys.executable, "-m", "pip", "--version"],
    "git": ["bash", "-c", GIT],
    "gcc and make": ["bash", "-c", MAKE],
    "node": ["node", "-e", NODE],
    "npm": ["npm", "--version"],
    "tar": ["bash", "-c", "echo a > a && tar cf a.tar a && tar tf a.tar"],
    "setpriv": ["setpriv", "--no-new-privs", "true"],
    "perl": ["perl", "-e", "exit 0"],
}


def run_under(profile: str, argv: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in `directory` under a shipped profile."""
    compiled = compile_filter(load_profile(profile), log_only=False)

    def confine() -> None:
        linux.syscall("prctl", Pr.SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        filters.load_filter(compiled.bpf, compiled.flags)

    return subprocess.run(
        argv,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        preexec_fn=confine,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("profile", profile_names())
@pytest.mark.parametrize("program", COMMANDS)
def test_program_works_under_the_profile(profile: str, program: str, tmp_path: Path) -> None:
    argv = COMMANDS[program]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    done = run_under(profile, argv, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("profile", profile_names())
@pytest.mark.parametrize(
    "argv",
    [
        ["unshare", "--user", "true"],
        ["mount", "-t", "tmpfs", "none", "."],
        ["nsenter", "--mount=/proc/self/ns/mnt", "true"],
        ["chroot", "/", "true"],
    ],
    ids=lambda argv: str(argv[0]),
)
def test_program_that_leaves_its_world_is_denied(
    profile: str, argv: list[str], tmp_path: Path
) -> None:
    done = run_under(profile, argv, tmp_path)
    assert done.returncode != 0
    denials = ("Operation not permitted", "permission denied")
    assert any(denial in done.stderr for denial in denials), done.stderr
    assert run_under(profile, ["true"], tmp_path).returncode == 0


def test_network_programs_work_under_default_and_not_under_locked_down(tmp_path: Path) -> None:
    program = "import socket; socket.create_server(('127.0.0.1', 0)).close(); socket.if_nameindex()"
    argv = [sys.executable, "-c", program]
    assert run_under("default", argv, tmp_path).returncode == 0
    denied = run_under("locked-down", argv, tmp_path)
    assert "Address family not supported" in denied.stderr
