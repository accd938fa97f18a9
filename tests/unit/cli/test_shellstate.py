"""A shell's state as data: real bash writes it, real bash reads it, and it behaves as one shell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.cli.front.jobwords import REPORT_FD
from substrate.cli.front.shellstate import (
    STATE_FD,
    STATE_FILE,
    Report,
    ShellState,
    read_report,
    still_unread,
)
from substrate.record import replace
from tests.support.examples import examples

if TYPE_CHECKING:
    from pathlib import Path

_BASH = shutil.which("bash") or "bash"


class Shell:
    """Runs each command in a bash of its own, and carries the state between them."""

    def __init__(self, directory: Path) -> None:
        self.state = ShellState(str(directory))
        self.report: Report | None = None
        self.directory = directory

    def run(self, command: str) -> str:
        """Return what a command printed; its status is `state.status`."""
        state_fd = self.state.begin()
        reading, writing = os.pipe()
        pid_out, out = os.pipe()
        pid = os.posix_spawn(
            _BASH,
            [_BASH, "-c", command],
            {"PATH": os.environ["PATH"], "BASH_ENV": STATE_FILE, "LC_ALL": "C.UTF-8"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, out, 2),
                (os.POSIX_SPAWN_DUP2, state_fd, STATE_FD),
                (os.POSIX_SPAWN_DUP2, writing, REPORT_FD),
            ],
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        for fd in (state_fd, writing, out):
            os.close(fd)
        printed, handed = _read(pid_out), _read(reading)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.report = read_report(handed.split(b"\0")[:-1])
        if self.report is not None:
            self.state = self.report.state
        self.state = replace(self.state, status=code if code >= 0 else 128 - code)
        return printed.decode("utf-8", "surrogateescape")


def _read(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def test_variables_functions_aliases_and_the_directory_are_there_for_the_next(shell: Shell) -> None:
    shell.run('x=1; export Y="a  b"; f() { echo "f$1"; }; alias ll="echo LL"; cd /usr; umask 027')
    assert shell.run(
        'echo $x "$Y"; f 2; ll 3; pwd; umask; env | grep ^Y=; echo $x | grep -c x'
    ) == ("1 a  b\nf2\nLL 3\n/usr\n0027\nY=a  b\n0\n")
    assert shell.run("cd ->/dev/null; pwd") == f"{shell.directory}\n"


def test_arrays_parameters_and_the_directory_stack_are_too(shell: Shell) -> None:
    shell.run('a=(1 "2 3"); declare -A m=([k]="v w"); set -- p "q r"; pushd / >/dev/null')
    printed = shell.run('echo "${a[1]}" "${m[k]}" "$2" $#; dirs -l')
    assert printed == f"2 3 v w q r 2\n/ {shell.directory}\n"


@pytest.mark.parametrize(
    ("command", "status"),
    [("true", 0), ("false", 1), ("(exit 7)", 7), ("exit 9", 9), ("nosuch-program", 127),
     ("kill -TERM $$", 143), ("if", 2), ("set -e; false; true", 1)],
)  # fmt: skip
def test_the_status_is_there_for_the_next(shell: Shell, command: str, status: int) -> None:
    shell.run(command)
    assert shell.state.status == status
    assert shell.run("echo $?") == f"{status}\n"


def test_options_hold_from_the_next_command_on(shell: Shell) -> None:
    shell.run("set -e -o pipefail; shopt -s extglob nullglob")
    assert shell.run("[[ ab == +(a|b) ]] && echo matches; echo *.none; false | true; echo not") == (
        "matches\n\n"
    )
    shell.run("set +e; set -u")
    assert "unbound variable" in shell.run("echo $nothing_of_that_name")
    assert shell.run("set +u; echo =$nothing_of_that_name") == "=\n"


def test_tracing_shows_the_person_s_commands_and_none_of_ours(shell: Shell) -> None:
    shell.run("set -x")
    assert shell.run("echo hi") == "+ echo hi\nhi\n"


def test_a_function_that_reads_as_an_alias_keeps_its_body(shell: Shell) -> None:
    shell.run("f() { ls=1; echo $ls; }; alias echo='printf %s-'")
    assert shell.run("f; echo a") == "1\na-"


def test_exit_says_that_the_person_leaves_and_a_failure_does_not(shell: Shell) -> None:
    for command, has_left in (("exit 3", True), ("f() { exit; }; f", True), ("(exit 3)", False),
                              ("set -e; false", False), ("echo", False)):  # fmt: skip
        shell.run(command)
        assert shell.report is not None
        assert shell.report.has_left is has_left, command


def test_a_command_without_a_hand_over_leaves_the_state_as_it_was(shell: Shell) -> None:
    shell.run("x=5")
    shell.run("x=6; exec true")
    assert shell.report is None
    assert shell.run("echo $x") == "5\n"


def test_readonly_and_odd_values_survive(shell: Shell) -> None:
    shell.run("readonly R=5; odd=$'a\\nb\\x01\\xff'; IFS=:; trap 'echo int' INT")
    assert shell.run('printf %q "$odd"; printf "[%s]" "$IFS"; trap') == (
        "$'a\\nb\\001\\377'[:]trap -- '{ __substrate_end \"$@\"; } 2>/dev/null' EXIT\n"
        "trap -- 'echo int' SIGINT\n"
    )
    assert "readonly" in shell.run("R=6")


def test_a_background_job_outlives_its_command(shell: Shell) -> None:
    # The shell hands over before it waits.
    assert shell.run("{ sleep 0.1; echo later; } & x=7; echo now") == "now\nlater\n"
    assert shell.run("echo $x") == "7\n"


def test_the_policy_learns_what_names_stand_for(shell: Shell) -> None:
    shell.run("f() { rm -rf y; }\ng() { cat <<E\n}\nE\n}; alias nuke='rm -rf'; alias two='a\nb'")
    told = shell.state.definitions()
    assert told["nuke"] == 'rm -rf "$@"'
    assert told["two"] == 'a\nb "$@"'
    assert "rm -rf y" in told["f"]
    assert "rm" not in told["g"]
    assert set(told) == {"f", "g", "nuke", "two"}


@settings(max_examples=examples(25))
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_any_value_of_a_variable_survives(value: str) -> None:
    state = ShellState("/")
    state = replace(state, variables="declare -- v=" + "'" + value.replace("'", "'\\''") + "'\n")
    shell = Shell.__new__(Shell)
    shell.state, shell.report = state, None
    assert shell.run('printf %s "$v"') == value


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"0", b"/", b"", b"a", b"b", b"c", b"d", b"e"],
        [b"0", b"/", b"", b"a", b"b", b"c", b"d", b"e", b"", b"", b"more"],
        [b"x", b"/", b"", b"a", b"b", b"c", b"d", b"e", b"", b""],
        [b"-1", b"/", b"", b"a", b"b", b"c", b"d", b"e", b"", b""],
        [b"9999", b"/", b"", b"a", b"b", b"c", b"d", b"e", b"", b""],
        [b"\xff"] * 10,
    ],
)
def test_what_is_no_hand_over_is_none(fields: list[bytes]) -> None:
    assert read_report(fields) is None


@pytest.mark.parametrize(
    ("claimed", "given", "expected"),
    [
        ("ls\n", b"y\rls\r", "ls\n"),
        ("ls", b"ls", "ls"),
        ("rm x\n", b"ls\r", ""),
        (":accept --force\r", b"", ""),
        ("ls\n :accept\nls\n", b"ls\r :accept\rls\r", "ls\n"),
        ("", b"ls", ""),
    ],
)
def test_only_what_was_typed_last_can_be_left_for_the_prompt(
    claimed: str, given: bytes, expected: str
) -> None:
    assert still_unread(claimed, given) == expected


def test_bash_itself_is_what_these_tests_ran() -> None:
    done = subprocess.run([_BASH, "--version"], capture_output=True, text=True, check=True)
    assert "GNU bash" in done.stdout
