"""A working day in a real repository, in the interactive shell as in bash; all changes are told.

The repository is Substrate's own. What is typed is edited, built, tested, committed, merged and
broken; whatever one sees is held against what a bash shows, and what each command changed against a
walk over all files before and after it.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires
from tests.support.runtime import ROOT
from tests.support.sessions import NEEDED, Place, new_place
from tests.support.twins import compare_with_bash
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.tmux import Pane

pytestmark = requires(*NEEDED, "pty", "tmux", "git", "gcc", "vi")

ME = "export GIT_{0}_NAME=A GIT_{0}_EMAIL=a@b GIT_{0}_DATE=2026-01-01T00:00Z"
WITH_NPM = (
    "mkdir -p web/dep; cd web/dep; echo 'module.exports = 42' > index.js; npm init -y | wc -l",
    "cd ..; npm init -y > /dev/null; npm install --offline --silent --no-audit --no-fund ./dep; ls",
    "node -e 'console.log(require(\"dep\"))'; cd ..",
)
# No package of a distribution's minimum.
WITHOUT_NPM = ("mkdir -p web/dep; echo '{}' > web/package.json; ls web",)
# What is typed; and after ` => `, one after the other: what to wait for, and what to press then.
COMMANDS = (
    "git log --format=%s | wc -l",
    "git status --short; git switch -qc work; git branch --show-current",
    ME.format("AUTHOR"),
    ME.format("COMMITTER"),
    "export GIT_PAGER=cat npm_config_update_notifier=false",
    "sed -i '1s/.*/# Another title/' README.md && git diff --stat",
    "vi -u NONE -n notes.txt => [New; i; first line; Enter; second line; Escape; :wq; Enter",
    "cat -n notes.txt",
    "git add -A && git commit -qm 'Edit two files' && git log -1 --format=%s --shortstat",
    "cd ci/demo-project && ls",
    "make 2>&1 | tail -1",
    "make -s check; echo $?",
    "for file in *.c; do echo '#error broken' >> $file; done; git status -s .",
    "make > /dev/null 2>&1; echo made $?",
    "git checkout -q . && git clean -fdxq . && git status --short .; ls",
    "cd ../..; PYTHONPATH=runtime python3 -c 'import substrate; print(substrate.__name__)'",
    "python3 -m compileall -q runtime/substrate/kernel; find runtime -name '*.pyc' | wc -l",
    "git grep -c 'def ' -- 'runtime/*.py' | sort -t: -k2n | tail -2",
    "python3 -m venv env && env/bin/pip install -q --no-index --disable-pip-version-check ./*.whl",
    "env/bin/greeting | tr a-z A-Z; rm -rf env",
    *(WITH_NPM if shutil.which("npm") else WITHOUT_NPM),
    "cat > run.sh <<'END'\nread -r word; echo \"got $word\"; exit 3\nEND",
    "echo hello | bash run.sh | cat; echo ${PIPESTATUS[@]}",
    "git switch -qc other HEAD~1; echo theirs > notes.txt; git add notes.txt; git commit -qm Other",
    "git merge -q work; echo merged $?; git diff --name-only --diff-filter=U",
    "git checkout -q --theirs notes.txt; git add notes.txt; git commit -qm Merge; cat notes.txt",
    "git log --graph --format=%s | head -4; git fsck 2>&1 | head -2",
    "(while [ ! -e go ]; do sleep 0.05; done; echo made > background.txt; sleep 300) &",
    "touch go; while [ ! -s background.txt ]; do sleep 0.05; done; jobs | cut -c 1-14",
    "less -X README.md => Another title; C-z",
    "jobs | cut -c 1-14; echo while it is stopped > stopped.txt",
    "fg => Another title; q",
    "kill %1; wait; jobs; echo none",
    "echo waiting; sleep 300; echo never => waiting; C-c",
    "echo $?; false | true; echo ${PIPESTATUS[*]}; nosuchcommand; echo $?",
    "tar cf all.tar --exclude=.git --exclude=all.tar . ; tar tf all.tar | grep -c package.json",
    "git stash -qu; git status --short | wc -l; git stash pop -q; git status --short | head -3",
    "rm -rf web docs; mv runtime/substrate moved; git status --short | wc -l",
    "chmod 600 LICENSE; ln -s LICENSE copying; mkfifo pipe; ls -l pipe | cut -c 1",
)  # fmt: skip


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        clone = ["git", "clone", "-q", "--depth", "20", f"file://{ROOT}", str(made.project)]
        subprocess.run(clone, check=True)
        (made.project / ".git/info/exclude").write_text("*.whl\n")
        make_wheel(made.project)
        yield made


def _type(pane: Pane, command: str) -> str:
    line, *actions = command.split(" => ")
    if not actions:
        for part in line.split("\n"):
            pane.run(part)
        return line
    first, *keys = actions[0].split("; ")
    pane.type(line)
    pane.wait(lambda: first in _below(pane, line))
    for key in keys:
        pane.press(*([key] if key in ("Enter", "Escape") or key[:2] == "C-" else ["-l", key]))
    pane.wait_for_prompt()
    return line


def _below(pane: Pane, line: str) -> str:
    """Return what is on the screen behind what was typed."""
    return pane.screen().rpartition(f"$ {line}")[2]


def test_a_day_s_work_shows_what_bash_shows_and_every_change_is_told(place: Place) -> None:
    assert len(COMMANDS) >= 30
    compare_with_bash(place, COMMANDS, _type, home=str(place.home))
    # The real repository is as it was, and holds all of it once it is accepted.
    assert (place.project / "runtime/substrate").is_dir()
    assert place.call("accept", "--force").returncode == 0
    assert not (place.project / "runtime/substrate").exists()
    assert (place.project / "moved/cli").is_dir()
