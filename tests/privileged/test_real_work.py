"""Real work in a world: the tools of a working day, on a project that stays as it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.runtime import ROOT
from tests.support.snapshots import snapshot
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from tests.support.runtime import Result, Runtime

pytestmark = requires(*calls.LAYERED)


class Workplace:
    """A project on the host, and commands run on it in a world that is kept for its diff."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.project = calls.public_directory(runtime, "project")
        self._number = 0

    def fill(self, source: Path) -> None:
        """Copy a tree into the project, for its owner."""
        shutil.copytree(source, self.project, dirs_exist_ok=True)
        for path in self.project.rglob("*"):
            os.chown(path, self.runtime.uid, self.runtime.gid, follow_symlinks=False)

    def work(self, script: str, *options: str) -> tuple[Result, Any]:
        """Run a script in a new world; check that the host's project is untouched.

        Return the call and the diff of the world.
        """
        self._number += 1
        world = f"w{self._number}"
        before = snapshot(self.project)
        place = ("--bundle", "host-project", "--project", self.project)
        words = ("bash", "-e", "-u", "-o", "pipefail", "-c", script)
        done = self.runtime("run", "--keep", *place, *options, world, *words, timeout_s=120).ok()
        assert snapshot(self.project) == before
        return done, self.runtime("diff", "--json", world).ok().json()


@pytest.fixture
def workplace(any_runtime: Runtime) -> Workplace:
    """An empty project owned by the runtime's user."""
    return Workplace(any_runtime)


def test_python_packages_are_installed_in_the_layer(workplace: Workplace) -> None:
    wheel = make_wheel(workplace.project)
    done, diff = workplace.work(
        "python3 -m venv env && env/bin/pip install --no-index --disable-pip-version-check "
        f"./{wheel.name} >&2 && env/bin/greeting"
    )
    assert done.stdout == "hello from a wheel\n"
    assert any(path.endswith("site-packages/greeting.py") for path in diff["writes"])
    assert (diff["mods"], diff["deletes"]) == ([], [])


@requires("git")
def test_git_history_is_made_in_the_layer(workplace: Workplace) -> None:
    (workplace.project / "file").write_text("one\n", encoding="utf-8")
    os.chown(workplace.project / "file", workplace.runtime.uid, workplace.runtime.gid)
    script = """
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q -b main . && git add file && git commit -qm first
        echo two >> file && git commit -qam second
        git checkout -qb side HEAD~1 && git log --all --format=%s && cat file && git fsck
    """
    done, diff = workplace.work(script)
    assert done.stdout.splitlines() == ["second", "first", "one"]
    assert ".git/HEAD" in diff["writes"]
    # Checked out again with its old content: whether this counts is the diff's to say.
    assert diff["deletes"] == []


@requires("gcc")
def test_c_project_is_built_and_checked(workplace: Workplace) -> None:
    workplace.fill(ROOT / "ci/demo-project")
    _, diff = workplace.work("make -s -j2 && make -s check && rm README.md && echo >> Makefile")
    assert diff["deletes"] == ["README.md"]
    assert diff["mods"] == ["Makefile"]
    assert diff["writes"] != []


@pytest.mark.skipif(not Path("/usr/bin/node").exists(), reason="no node on this host")
def test_node_runs(workplace: Workplace) -> None:
    script = 'require("fs").writeFileSync("made.json", JSON.stringify({pid: process.pid > 0}))'
    done, diff = workplace.work(f"node -e '{script}' && cat made.json")
    assert done.stdout == '{"pid":true}'
    assert diff["writes"] == ["made.json"]


def test_trees_are_copied_packed_and_unpacked_alike(workplace: Workplace) -> None:
    tree = workplace.project / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/file").write_bytes(os.urandom(100_000))
    (tree / "link").symlink_to("deep/er/file")
    os.link(tree / "deep/er/file", tree / "hard")
    (tree / "run").write_text("#!/bin/sh\n", encoding="ascii")
    (tree / "run").chmod(0o751)
    for path in (tree, *tree.rglob("*")):
        os.chown(path, workplace.runtime.uid, workplace.runtime.gid, follow_symlinks=False)
    script = """
        cp -a tree copy && diff -r tree copy
        tar cf tree.tar tree && mkdir out && tar xpf tree.tar -C out && diff -r tree out/tree
        find tree copy out/tree -name run -printf '%m\\n' | sort -u
        find copy -samefile copy/hard | wc -l
        mv tree/deep moved && rm -r tree
    """
    done, diff = workplace.work(script)
    assert done.stdout.split() == ["751", "2"]
    assert "tree" in diff["deletes"]
    assert {"copy", "tree.tar", "out"} <= {path.split("/")[0] for path in diff["writes"]}


def test_changes_of_every_kind_are_listed(workplace: Workplace) -> None:
    for name in ("changed", "removed", "renamed", "mode"):
        path = workplace.project / name
        path.write_text(f"{name}\n" * 10, encoding="utf-8")
        os.chown(path, workplace.runtime.uid, workplace.runtime.gid)
    script = "echo >> changed; rm removed; mv renamed elsewhere; chmod 600 mode; echo > made"
    _, diff = workplace.work(script)
    assert diff["mods"] == ["changed"]
    assert diff["deletes"] == ["removed"]
    assert diff["renames"] == [["renamed", "elsewhere"]]
    assert diff["meta"] == ["mode"]
    assert diff["writes"] == ["made"]


@pytest.mark.parametrize(
    "step_down",
    ["setpriv --reuid 1000 --regid 1000 --clear-groups id -u", "su -s /bin/sh nobody -c 'id -u'"],
)
def test_root_of_a_world_can_step_down_to_its_users(runtime: Runtime, step_down: str) -> None:
    workplace = Workplace(runtime)
    capabilities = ("--cap", "CAP_SETUID", "--cap", "CAP_SETGID")
    done, _ = workplace.work(f"{step_down}; id -u", *capabilities)
    first, second = done.stdout.split()
    assert first in {"1000", "65534"}
    assert second == "0"


def test_work_of_one_world_is_not_seen_by_another(workplace: Workplace) -> None:
    workplace.work("echo made > made")
    done, diff = workplace.work("ls -A")
    assert done.stdout == ""
    assert diff["writes"] == []


def test_programs_find_the_places_they_expect(workplace: Workplace) -> None:
    script = """
        echo > /tmp/a; echo > /var/tmp/b; echo > "$HOME/c"; mkdir -p /run/user
        python3 -c 'import tempfile, ssl, multiprocessing as m; m.Lock(); tempfile.TemporaryFile()'
        locale -a | grep -c . > /dev/null; date > /dev/null; getent passwd root | cut -d : -f 6
        perl -e 'print "perl\\n"'; awk 'BEGIN { print "awk" }'; [ -r /etc/ssl/certs ] && echo ssl
    """
    done, diff = workplace.work(script)
    assert done.stdout.split() == ["/root", "perl", "awk", "ssl"]
    assert diff["writes"] == []
