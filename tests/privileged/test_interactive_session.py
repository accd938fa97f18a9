"""The interactive shell in a terminal: as bash, and every command's changes are told exactly."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires
from tests.support.sessions import NEEDED, Place, new_place
from tests.support.twins import compare_with_bash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.tmux import Pane

pytestmark = requires(*NEEDED, "pty", "tmux")

_FILES = {
    "README": "".join(f"line {number}\n" for number in range(1, 100)),
    "Makefile": "hello: src/hello.c\n\tcc -o hello src/hello.c\n"
    "test: hello\n\t@./hello | grep -q world && echo passed\n",
    "src/hello.c": '#include <stdio.h>\nint main(void) { puts("hello wrold"); return 0; }\n',
    "old/a.txt": "a\n",
    "old/b.txt": "b\n",
    "notes.txt": "notes\n",
}
# Each is typed line by line. What they print depends on nothing but the files.
COMMANDS = (
    "ls",
    "head -2 README; wc -l < README",
    "export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b",
    "make",
    "./hello",
    "./hello | tr a-z A-Z | rev",
    "make -s test 2>/dev/null",
    "echo $?",
    "sed -i s/wrold/world/ src/hello.c && make && make test",
    "git status --short",
    "echo hello > .gitignore; git add -A; git commit -qm 'first one'; git log --format=%s",
    "git mv notes.txt remarks.txt && git status --short",
    "cd src",
    "basename $PWD; cd - > /dev/null; cd src; echo $((6 * 7))",
    "greet() { echo \"hi $1\"; return 3; }",
    "greet bob",
    "echo $?; alias ll='ls -1'; X='a  b'",
    "ll ..; echo \"$X\"",
    "cd ..",
    "for word in one two; do\necho $word\ndone",
    "cat > here.txt <<END\nvalue $X\nEND",
    "cat here.txt | wc -l",
    "false",
    "nosuchcommand",
    "echo $?; (exit 7); echo $?",
    "(sleep 0.3; echo done > late.txt) & disown 2>/dev/null; sleep 1; cat late.txt",
    "rm -r old; mkdir -p deep/er; chmod +x README; ln -s README link",
    "set -o pipefail; false | true; echo $?",
    "read -r line < here.txt; echo \"<$line>\"",
    "printf '%s\\n' *.txt | sort -r",
    "set -- a 'b c'; echo $# \"$2\"; shift; echo $1",
)  # fmt: skip


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place(_FILES) as made:
        subprocess.run(["git", "init", "-q", "-b", "main", str(made.project)], check=True)
        yield made


def _type(pane: Pane, command: str) -> str:
    for line in command.split("\n"):
        pane.run(line)
    return command


def test_thirty_commands_show_what_bash_shows_and_every_change_is_told(place: Place) -> None:
    assert len(COMMANDS) >= 30
    compare_with_bash(place, COMMANDS, _type, home="/root")
    # The real files are as they were.
    assert (place.project / "old/a.txt").exists()
    assert not (place.project / "hello").exists()


def test_programs_on_the_whole_screen_keys_and_sizes_work(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.type("less README")
        pane.wait_for("line 40")
        pane.press("G")
        pane.wait_for("line 99")
        pane.press("q")
        pane.wait_for_prompt()
        pane.type("python3 -q")
        pane.wait_for(">>>")
        pane.type("print(6 * 7)")
        pane.wait_for("42")
        pane.press("C-d")
        pane.wait_for_prompt()
        pane.resize(100, 40)
        pane.run("stty size")
        assert "40 100" in pane.screen()


def test_ctrl_c_reaches_the_command_and_not_the_shell(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.type("echo began; sleep 60; echo never")
        pane.wait_for("began\n")
        pane.press("C-c")
        pane.wait_for_prompt()
        pane.run("echo status $?")
        assert "status 130" in pane.screen()
        # At the prompt it drops the line.
        pane.press("a", "b", "c")
        pane.wait_for("$ abc")
        pane.press("C-c")
        pane.wait_for("\n\n")
        pane.type("echo alive")
        pane.wait_for("\nalive")
        assert "\nnever" not in pane.screen()


def test_a_background_job_goes_on_and_is_heard(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("while [ ! -e go ]; do sleep 0.1; done && echo job has en''ded &")
        pane.run("echo meanwhile")
        pane.run("touch go")
        pane.wait_for("job has ended")
        pane.run("echo after")
        assert "\nafter" in pane.screen()


def test_exit_leaves_with_its_status_and_the_changes_stay(place: Place) -> None:
    argv = ["sh", "-c", '"$@"; echo left with $?; sleep 60', "sh", *place.argv]
    with place.pane("a", argv) as pane:
        pane.wait_for_prompt()
        pane.run("echo new > new.txt")
        pane.type("exit 5")
        pane.wait_for("left with 5")
    assert place.call("diff").stdout == "+ new.txt\n"


def test_completion_knows_the_files_of_the_world_and_quotes_them(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("echo inside > 'made $(touch pwned) here.txt'")
        pane.press("c", "a", "t", "Space", "m", "a", "d", "Tab")
        pane.wait_for("here.txt")
        pane.press("Enter")
        pane.wait_for("\ninside")
        pane.run("ls")
        assert "pwned\n" not in pane.screen()
    assert not (place.project / "pwned").exists()


def test_verbs_behind_a_colon_are_substrate_s_own(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("echo x > fresh.txt")
        assert "1 new" in pane.screen()
        pane.run(":diff")
        assert "+ fresh.txt" in pane.screen()
        pane.run(":accept")
        assert ":undo takes it back" in pane.screen()
        pane.run(":undo")
        assert "undid accept 1" in pane.screen()
        pane.run("clear; cat fresh.txt")
        assert "x" in pane.screen()
        pane.run(":nosuch")
        assert "there is no verb 'nosuch'" in pane.screen()
        pane.run(": not a verb; echo colon is still bash")
        assert "\ncolon is still bash" in pane.screen()


def test_a_denied_command_is_stopped_through_the_shell_s_own_names(place: Place) -> None:
    place.write_policy('cmd_denied: ["rm -rf *"]\n')
    with place.pane() as pane:
        pane.wait_for_prompt()
        for command in (
            "alias tidy='rm -rf'",
            "clean() { rm -rf old; }",
            "true && sudo rm -rf old",
        ):
            pane.run("clear; true")
            pane.run(command)
            assert "denied by cmd_denied:rm -rf *" in pane.screen().replace("\n", " "), command
        pane.run("echo $?; ls old; type clean tidy")
        assert "126\na.txt" in pane.screen()
        assert "clean: not found" in pane.screen()
        pane.run("rm -r old; ls old")
        assert "cannot access 'old'" in pane.screen()


def test_what_is_typed_ahead_is_for_who_asks_first(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.type("sleep 1; read -r word; echo got $word; sleep 1")
        pane.type("a word")
        pane.type("echo for the prom''pt")
        pane.press("-l", "echo not yet")
        # Behind what the terminal echoes meanwhile, as in any terminal.
        pane.wait_for("got a word\n")
        pane.wait_for("for the prompt\n")
        pane.wait_for("$ echo not yet")
        pane.press("Enter")
        pane.wait_for("\nnot yet\n")
