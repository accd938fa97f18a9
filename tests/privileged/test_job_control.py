"""Jobs in the interactive shell: stopped, continued, listed, signalled, waited for, as in bash."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires
from tests.support.sessions import NEEDED, Place, new_place
from tests.support.tmux import Pane, shown_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED, "pty", "tmux")

# `^Z` stands for the key, once the command sleeps.
COMMANDS = (
    "sleep 300 &",
    "jobs",
    "(sleep 0.5; exit 3) &",
    "jobs %2; wait %2; echo waited $?",
    "sleep 301 | cat &",
    "jobs | wc -l",
    "kill %2; wait %2; echo $?; sleep 0.3",
    "jobs",
    "kill %1; sleep 0.5",
    "jobs; echo none",
    "sh -c 'echo on 1; exec sleep 302'^Z",
    "echo $?; jobs",
    "bg; jobs",
    "sh -c 'echo on 2; exec sleep 303'^Z",
    "jobs",
    "sleep 304 &",
    "jobs; kill %3; wait %3; echo $?",
    "fg %9; bg %nosuch; echo $?",
    "kill %2 %1; sleep 0.5",
    "jobs; echo none",
    "sleep 1.5 &",
    "wait; echo all; sleep 0.3",
    "sleep 1.2 &",
    "wait $!; echo $?",
    "sleep 306 &",
    "disown; jobs; kill $!; echo disowned",
    "kill -l 9; kill -0 $$ && echo here",
)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place({"README": "".join(f"line {n}\n" for n in range(1, 100))}) as made:
        yield made


def _type(pane: Pane, command: str) -> None:
    line, key, _ = command.partition("^Z")
    if not key:
        pane.run(line)
        return
    pane.type(line)
    said = re.search(r"echo (on \d)", line)
    assert said is not None
    pane.wait_for(f"\n{said[1]}\n")
    pane.press("C-z")
    pane.wait_for_prompt()


def _transcript(pane: Pane) -> list[str]:
    """Return what was shown, without numbers of processes and the moment of a notice."""
    text = "\n".join(shown_lines(pane.text()))
    text = text[re.search(r"^\S+ \$ ", text, re.MULTILINE).start() :]  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
    kept = [re.sub(r"^\S+ \$", "$", line) for line in text.split("\n")]
    kept = [re.sub(r"^(\[\d+\]) \d+$", r"\1 PID", line) for line in kept]
    # Which of those that have ended was the current one is the order in which bash heard of it.
    kept = [re.sub(r"^(\[\d+\])[-+ ](  (Terminated|Done|Exit))", r"\1 \2", line) for line in kept]
    return [line for line in kept if "^Z" not in line and not line.startswith("· ")]


def test_jobs_of_earlier_commands_are_as_in_bash(place: Place) -> None:
    env = place.screen_environment
    bash_env = env | {"PS1": r"\W $ ", "HISTFILE": "/dev/null", "HOME": "/root"}
    argv = ["bash", "--norc", "--noprofile"]
    shown: list[list[str]] = []
    for name, words, given in (("a", argv, bash_env), ("b", place.argv, env)):
        with Pane(place.home / name, words, place.project, given) as pane:
            pane.wait_for_prompt()
            for command in COMMANDS:
                _type(pane, command)
            shown.append(_transcript(pane))
    assert "\n".join(shown[1]) == "\n".join(shown[0])


def test_a_program_on_the_whole_screen_is_stopped_and_comes_back(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.type("less README")
        pane.wait_for("line 40")
        pane.press("C-z")
        pane.wait_for_prompt()
        pane.run("echo in between > between.txt; jobs")
        assert "[1]+  Stopped                 less README" in pane.screen()
        pane.type("fg")
        pane.wait_for("line 40")
        pane.resize(100, 30)
        pane.press("G")
        pane.wait_for("line 99")
        pane.wait_for("(END)")
        pane.press("q")
        pane.wait_for_prompt()
        pane.run("jobs; echo status $?; cat between.txt")
        assert "status 0\nin between" in pane.screen()


def test_ctrl_c_ends_a_job_brought_to_the_front_and_not_the_shell(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("sleep 300 & sleep 301 &")
        pane.type("fg %2; echo never")
        pane.wait_for("\nsleep 301\n")
        pane.press("C-c")
        pane.wait_for_prompt()
        pane.run("echo status $?")
        # The shell of both is gone with it; the other goes on, and that is said.
        assert "[1]   sleep 300: no job any more" in pane.screen().replace("\n", "")
        pane.run("pgrep -f '^sleep 300' > /dev/null && echo it runs; pkill -f '^sleep 300'")
        assert "\nit runs" in pane.screen()


def test_fg_returns_the_status_of_the_job(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("(read -r line; echo got $line; exit 7) &")
        pane.type("fg; echo ended $?")
        pane.wait_for("( read -r line; echo got $line; exit 7 )")
        pane.type("hello")
        pane.wait_for("ended 7")
        assert "\ngot hello" in pane.screen()


def test_a_stopped_job_is_not_left_behind_unasked(place: Place) -> None:
    argv = ["sh", "-c", '"$@"; echo left with $?; sleep 60', "sh", *place.argv]
    with place.pane("a", argv) as pane:
        pane.wait_for_prompt()
        _type(pane, "sh -c 'echo on 3; exec sleep 300'^Z")
        pane.run("exit 4")
        assert "There are stopped jobs." in pane.screen()
        pane.type("exit 4")
        pane.wait_for("left with 4")


def test_a_job_that_has_ended_gives_the_next_command_a_layer_of_its_own(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("(while [ ! -e go ]; do sleep 0.05; done) &")
        pane.run("touch go shared; sleep 0.5")
        pane.wait_for("Done")
        pane.run("touch alone")
    told = place.call("diff").stdout
    assert told == "+ alone\n+ go\n+ shared\n"
    spans = sorted(
        (place.home / "data").glob("*/spans/*.json"), key=lambda path: path.stat().st_mtime
    )
    assert '"attribution":"own"' in spans[-1].read_text().replace(" ", "")
    assert any('"shared"' in path.read_text() for path in spans)


def test_a_running_job_goes_on_when_the_shell_is_left(place: Place) -> None:
    argv = ["sh", "-c", '"$@"; echo left with $?; sleep 60', "sh", *place.argv]
    with place.pane("a", argv) as pane:
        pane.wait_for_prompt()
        pane.run("(while [ ! -e go ]; do sleep 0.05; done; echo done > late.txt) &")
        pane.type("exit")
        pane.wait_for("left with 0")
    place.call("-c", "touch go")
    deadline = time.monotonic() + 30
    while place.call("-c", "cat late.txt").stdout != "done\n":
        assert time.monotonic() < deadline


def test_time_that_is_over_ends_a_job_in_front_too(place: Place) -> None:
    argv = [*place.argv, "--timeout", "2"]
    with place.pane("a", argv) as pane:
        pane.wait_for_prompt()
        pane.run("sleep 300; echo never")
        pane.run("echo status $?; jobs; echo none")
        assert "\nnever" not in pane.screen()
        assert re.search(r"status (143|124)\nnone", pane.screen())
