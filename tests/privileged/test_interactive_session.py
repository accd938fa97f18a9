"""The interactive shell in a terminal: as bash, and every command's changes are told exactly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from substrate.api.records import ExecRequest, WorldSpec
from tests.support.features import requires
from tests.support.sessions import NEEDED, Place
from tests.support.tmux import Pane, shown_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from substrate.api.inprocess import InProcessWorld

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
_WALK = """
import hashlib, json, os, stat
found = {}
for top, dirs, files in os.walk("."):
    for name in dirs + files:
        path = os.path.join(top, name)
        status = os.lstat(path)
        mode = status.st_mode
        content = ""
        if stat.S_ISLNK(mode): content = os.readlink(path)
        elif stat.S_ISREG(mode): content = hashlib.sha256(open(path, "rb").read()).hexdigest()
        found[path[2:]] = [stat.S_IFMT(mode), stat.S_IMODE(mode), content]
print(json.dumps(found))
"""
Tree = dict[str, list[Any]]


@pytest.fixture
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="sw-int-", dir="/tmp"))
    made = Place(folder)
    _write_repository(made.project)
    yield made
    made.end()
    shutil.rmtree(folder)


def _write_repository(folder: Path) -> None:
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)


def environment(place: Place) -> dict[str, str]:
    return place.whole_environment | {"TERM": "screen", "LANG": "C.UTF-8"}


def _type(pane: Pane, command: str) -> None:
    for line in command.split("\n"):
        pane.run(line)


def transcript(pane: Pane) -> list[str]:
    """Return what was shown since the first prompt, without what the two shells say differently."""
    lines = shown_lines(pane.text())
    first = next(number for number, line in enumerate(lines) if re.match(r"\S+ \$", line))
    kept = [line for line in lines[first:] if not line.startswith("· ")]
    kept = [re.sub(r"^\S+ \$", "$", line) for line in kept]
    # A shell that is not interactive says the line; an interactive one numbers its jobs.
    return [re.sub(r"line \d+: ", "", line) for line in kept if not re.match(r"\[1\] \d+$", line)]


def test_thirty_commands_show_what_bash_shows_and_every_change_is_told(place: Place) -> None:
    twin = place.project.parent / "twin" / "project"
    twin.parent.mkdir()
    shutil.copytree(place.project, twin, symlinks=True)
    env = environment(place)
    bash_env = env | {"PS1": r"\W $ ", "HISTFILE": "/dev/null", "HOME": "/root"}
    with Pane(place.home / "a", ["bash", "--norc", "--noprofile"], twin, bash_env) as pane:
        pane.wait_for_prompt()
        for command in COMMANDS:
            _type(pane, command)
        expected = transcript(pane)
    observer = place.world()
    spans: list[tuple[str, Tree, Tree]] = []
    with Pane(place.home / "b", place.argv, place.project, env) as pane:
        pane.wait_for_prompt()
        observer.find_session(WorldSpec())
        before = walk(observer)
        for command in COMMANDS:
            _type(pane, command)
            after = walk(observer)
            spans.append((command, before, after))
            before = after
        assert transcript(pane) == expected
    assert len(COMMANDS) >= 30
    compare_with_walks(place, observer, spans)
    observer.close()
    # The real files are as they were.
    assert (place.project / "old/a.txt").exists()
    assert not (place.project / "hello").exists()


def walk(observer: InProcessWorld) -> Tree:
    result = observer.exec(ExecRequest(argv=("python3", "-c", _WALK), agent_id="observer"))
    assert result.stdout is not None, result
    tree: Tree = json.loads(result.stdout.text)
    return tree


def compare_with_walks(
    place: Place, observer: InProcessWorld, spans: list[tuple[str, Tree, Tree]]
) -> None:
    """Hold the diff of every span that a person typed against the walks around it."""
    told = place.call("log", "--json", "--number", "1000").stdout.splitlines()
    typed = [row for row in map(json.loads, told) if row.get("agent_id") != "observer"]
    assert [row["cmd"] for row in typed] == [command for command, _, _ in spans]
    for row, (command, before, after) in zip(typed, spans, strict=True):
        diff = observer.fs_diff(row["span_id"])
        # Where each path from before is now: what is in a directory moves with it.
        origins = {_moved(path, diff.renames): path for path in before}
        changed = {
            path for path, origin in origins.items()
            if path in after and before[origin][::2] != after[path][::2]
        }  # fmt: skip
        meta = {
            path for path, origin in origins.items()
            if path in after and path not in changed and before[origin][1] != after[path][1]
        }  # fmt: skip
        new, gone = after.keys() - origins.keys(), origins.keys() - after.keys()
        assert set(diff.writes) == new, command
        assert set(diff.deletes) == gone, command
        assert set(diff.mods) - new == changed, command
        assert set(diff.meta) - new == meta, command


def _moved(path: str, renames: Iterable[tuple[str, str]]) -> str:
    for old, new in renames:
        if path == old or path.startswith(old + "/"):
            return new + path.removeprefix(old)
    return path


def test_programs_on_the_whole_screen_keys_and_sizes_work(place: Place) -> None:
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
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
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
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
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
        pane.wait_for_prompt()
        pane.run("while [ ! -e go ]; do sleep 0.1; done && echo job has en''ded &")
        pane.run("echo meanwhile")
        pane.run("touch go")
        pane.wait_for("job has ended")
        pane.run("echo after")
        assert "\nafter" in pane.screen()


def test_exit_leaves_with_its_status_and_the_changes_stay(place: Place) -> None:
    argv = ["sh", "-c", '"$@"; echo left with $?; sleep 60', "sh", *place.argv]
    with Pane(place.home / "a", argv, place.project, environment(place)) as pane:
        pane.wait_for_prompt()
        pane.run("echo new > new.txt")
        pane.type("exit 5")
        pane.wait_for("left with 5")
    assert place.call("diff").stdout == "+ new.txt\n"


def test_completion_knows_the_files_of_the_world_and_quotes_them(place: Place) -> None:
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
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
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
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
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
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
    with Pane(place.home / "a", place.argv, place.project, environment(place)) as pane:
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
