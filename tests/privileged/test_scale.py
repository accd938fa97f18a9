"""Large projects and large changes: cost follows the change, and a large one goes through.

The usual run has the small form; `ci/nightly` has the full size, and prints what each call cost.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import calls, measuring
from tests.support.attack import host_view_bundle
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires("root", "strace", *calls.LAYERED)

AT = "/work"
# Calls by which a directory is read, or a file in it looked at.
LOOKS = "getdents64,openat,openat2,newfstatat,statx,llistxattr,lgetxattr"
FILES_IN_A_FOLDER = 100
nightly = pytest.mark.nightly

# A command that makes, changes, removes and moves files: 60, 30, 8 and 2 of a hundred.
CHANGES = """
import os, sys
count = int(sys.argv[1])
for number in range(count * 60 // 100):
    if number % 100 == 0:
        os.mkdir(f"new{number // 100}")
    with open(f"new{number // 100}/{number}", "w") as file:
        file.write(f"made {number}")
old = sorted(path for path in os.listdir() if path.startswith("old"))
left = count - count * 60 // 100
for number in range(left):
    path = f"old{number // 100}/{number}"
    if number % 20 == 0:
        os.rename(path, path + ".moved")
    elif number % 5 == 0:
        os.unlink(path)
    else:
        with open(path, "a") as file:
            file.write(" and changed")
"""


def make_files(project: Path, count: int) -> None:
    """Fill a project with small files, a hundred in a directory."""
    project.mkdir()
    for start in range(0, count, FILES_IN_A_FOLDER):
        folder = project / f"old{start // FILES_IN_A_FOLDER}"
        folder.mkdir()
        for number in range(start, min(start + FILES_IN_A_FOLDER, count)):
            with open(f"{folder}/{number}", "w", encoding="ascii") as file:
                file.write(f"found {number}")


def tree(project: Path) -> dict[str, tuple[int, int, str]]:
    """Return the mode, mtime and content of every file and directory."""
    found: dict[str, tuple[int, int, str]] = {}
    for folder, _, files in os.walk(project):
        status = os.lstat(folder)
        found[folder] = (status.st_mode, status.st_mtime_ns, "")
        for name in files:
            path = f"{folder}/{name}"
            status = os.lstat(path)
            with open(path, encoding="ascii") as file:
                found[path] = (status.st_mode, status.st_mtime_ns, file.read())
    return found


def measured(runtime: Runtime, *words: str | Path) -> measuring.Cost:
    """Call the runtime and return what it cost."""
    file = runtime.folder / "cost"
    argv = [*measuring.words(file), *runtime.argv, *map(str, words)]
    done = subprocess.run(
        argv, env=runtime.environment, cwd=runtime.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return measuring.read(file)


def looks(runtime: Runtime, project: Path, *words: str | Path) -> int:
    """Call the runtime and return how often it, but not the world, looked at files of a project."""
    trace = runtime.folder / "looks"
    subprocess.run(
        ["strace", "-qq", "-y", "-o", trace, "-e", f"trace={LOOKS}", *runtime.argv,
         *map(str, words)],
        env=runtime.environment, cwd=runtime.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, check=True, timeout=1800,
    )  # fmt: skip
    with trace.open("rb") as file:
        return sum(1 for line in file if str(project).encode() in line)


def session(runtime: Runtime, count: int, name: str) -> list[tuple[str, int]]:
    """Change three files of a project in every way there is; how often files were looked at."""
    project = runtime.folder / name
    make_files(project, count)
    bundle = host_view_bundle(runtime, substrate={"project": {"at": AT}})
    script = f"cd {AT}; echo x >>old0/3; echo y >new; rm old1/107"
    options = ("--bundle", bundle, "--project", project)

    def call(*words: str | Path) -> None:
        found.append((str(words[0]), looks(runtime, project, *words)))

    found: list[tuple[str, int]] = []
    call("run", "--idle", "--detach", *options, name)
    call("exec", "--span", "one", name, "sh", "-c", script)
    call("diff", name)
    call("diff", "--span", "one", name)
    call("kill", name, "KILL")
    call("accept", name)
    assert (project / "old0/3").read_text("ascii") == "found 3x\n"
    assert not (project / "old1/107").exists()
    call("undo", name)
    assert (project / "old0/3").read_text("ascii") == "found 3"
    call("discard", name)
    call("delete", "--force", name)
    shutil.rmtree(project)
    return found


@pytest.mark.parametrize("count", [3_000, pytest.param(1_000_000, marks=nightly)])
def test_nothing_walks_the_project(runtime: Runtime, count: int) -> None:
    small, large = (session(runtime, size, f"w{size}") for size in (200, count))
    for (verb, few), (_, many) in zip(small, large, strict=True):
        assert many <= few + 3, f"{verb}: {few} looks became {many}"
    # The positive control: what is looked at shows.
    assert dict(large)["accept"] > 3


@pytest.mark.parametrize("count", [800, pytest.param(100_000, marks=nightly)])
def test_a_change_of_many_files_is_accepted_and_undone(runtime: Runtime, count: int) -> None:
    quarter = change_of(runtime, count // 4, "small")
    whole = change_of(runtime, count, "large")
    for verb, cost in whole.items():
        sys.stderr.write(f"{verb} of {count} files: {cost}\n")
        grown = (cost.processor_s - 0.1) / max(quarter[verb].processor_s, 0.2)
        # Four times as many files: sixteen times the work would be a quadratic step.
        assert grown < 9, f"{verb}: {quarter[verb]} became {cost}"
        assert cost.most_memory_mib < 64 + count * 0.012, f"{verb}: {cost}"


def change_of(runtime: Runtime, count: int, name: str) -> dict[str, measuring.Cost]:
    """Accept and undo a change of so many files; what each call cost."""
    project = runtime.folder / name
    make_files(project, count - count * 60 // 100)
    before = tree(project)
    bundle = host_view_bundle(runtime, substrate={"project": {"at": AT}})
    script = ("/usr/bin/python3", "-c", f"import os; os.chdir('{AT}')\n{CHANGES}", str(count))
    costs: dict[str, measuring.Cost] = {}
    options = ("--bundle", bundle, "--project", project)
    costs["run"] = measured(runtime, "run", "--keep", *options, name, *script)
    costs["diff"] = measured(runtime, "diff", "--stat", name)
    costs["accept"] = measured(runtime, "accept", name)
    check_changed(project, tree(project), count)
    costs["undo"] = measured(runtime, "undo", name)
    assert tree(project) == before
    costs["delete"] = measured(runtime, "delete", name)
    shutil.rmtree(project)
    return costs


def check_changed(project: Path, after: dict[str, tuple[int, int, str]], count: int) -> None:
    """Compare with what the command did."""
    made = count * 60 // 100
    wanted = {f"{project}/new{number // 100}/{number}": f"made {number}" for number in range(made)}
    for number in range(count - made):
        path = f"{project}/old{number // 100}/{number}"
        if number % 20 == 0:
            wanted[path + ".moved"] = f"found {number}"
        elif number % 5:
            wanted[path] = f"found {number} and changed"
    assert {path: text for path, (_, _, text) in after.items() if not os.path.isdir(path)} == wanted
