"""The same typed into bash and into the shell of a world: it shows the same, and tells changes.

What each command changed is held against a walk over all files before and after it.
"""

from __future__ import annotations

import json
import re
import shutil
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from substrate.api.records import ExecRequest, WorldSpec
from tests.support.tmux import Pane, shown_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from substrate.api.inprocess import InProcessWorld
    from tests.support.sessions import Place

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


def compare_with_bash(
    place: Place, commands: Iterable[str], type_command: Callable[[Pane, str], str], home: str
) -> None:
    """Type commands into bash, in a copy of the project, and into the interactive shell.

    `type_command` returns what of a command is the typed line; `home` is HOME of the bash.
    """
    twin = place.project.parent / "twin" / "project"
    twin.parent.mkdir()
    shutil.copytree(place.project, twin, symlinks=True)
    environment = place.screen_environment | {
        "PS1": r"\W $ ", "HISTFILE": "/dev/null", "HOME": home,
    }  # fmt: skip
    bash = ["bash", "--norc", "--noprofile"]
    with Pane(place.home / "bash", bash, twin, environment) as pane:
        pane.wait_for_prompt()
        for command in commands:
            type_command(pane, command)
        expected = _transcript(pane)
    observer = place.world()
    spans: list[tuple[str, Tree, Tree]] = []
    with place.pane("ours") as pane:
        pane.wait_for_prompt()
        observer.find_session(WorldSpec())
        before = _walk(observer)
        for command in commands:
            typed = type_command(pane, command)
            after = _walk(observer)
            spans.append((typed, before, after))
            before = after
        differences = "\n".join(unified_diff(expected, _transcript(pane), "bash", "here", n=1))
        assert not differences, differences
    _compare_with_walks(place, observer, spans)
    observer.close()


def _transcript(pane: Pane) -> list[str]:
    """Return what was shown since the first prompt, without what the two shells say differently."""
    lines = shown_lines(pane.text())
    first = next(number for number, line in enumerate(lines) if re.match(r"\S+ \$", line))
    kept = [line for line in lines[first:] if not line.startswith("· ")]
    kept = [re.sub(r"^\S+ \$", "$", line) for line in kept]
    # A shell that is not interactive says the line; an interactive one numbers its jobs.
    return [re.sub(r"line \d+: ", "", line) for line in kept if not re.match(r"\[1\] \d+$", line)]


def _walk(observer: InProcessWorld) -> Tree:
    result = observer.exec(ExecRequest(argv=("python3", "-c", _WALK), agent_id="observer"))
    assert result.stdout is not None, result
    tree: Tree = json.loads(result.stdout.text)
    return tree


def _compare_with_walks(
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
