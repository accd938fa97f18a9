"""A session's world that has ended runs again over its layers, and never without them."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires
from tests.support.runtime import ROOT
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED)

CHANGES = (
    "echo new > new.txt; mkdir -p deep/er; echo x > deep/er/x",
    "rm a.txt; mv sub moved; ln -s new.txt link",
    "echo more >> new.txt; chmod +x moved/b.txt; rm deep/er/x",
)
LOOK = "ls -lR --time-style=+; cat new.txt moved/b.txt"
REVIVED = "had ended; it runs again over its changes"


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place({"a.txt": "a\n", "sub/b.txt": "b\n"}) as made:
        yield made


def _end_world(place: Place) -> None:
    (state,) = (place.home / "state").glob("*/state.json")
    pid = json.loads(state.read_text("utf-8"))["pid"]
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], 30)[0]
    os.close(pidfd)


def _restart_machine(place: Place) -> None:
    """Do to the session what a restart does: its processes and what is volatile are gone."""
    _end_world(place)
    shutil.rmtree(place.home / "state")


@pytest.mark.parametrize("catastrophe", [_end_world, _restart_machine])
def test_the_next_command_sees_all_changes_and_adds_its_own(
    place: Place, catastrophe: object
) -> None:
    assert callable(catastrophe)
    for command in CHANGES:
        assert place.call("-c", command).returncode == 0
    before, diff = place.call("-c", LOOK).stdout, place.call("diff").stdout
    session = json.loads(place.call("--json", "-c", "true").stdout)["span_id"]
    catastrophe(place)
    # Looking needs no world.
    assert place.call("diff").stdout == diff
    again = place.call("-c", LOOK)
    assert (again.stdout, again.returncode) == (before, 0)
    assert REVIVED in again.stderr
    assert len(again.stderr.splitlines()) == 1
    assert place.call("diff").stdout == diff
    result = json.loads(place.call("--json", "-c", "echo last > last.txt; rm link").stdout)
    assert result["fs_diff"]["writes"] == ["last.txt"]
    assert result["fs_diff"]["deletes"] == ["link"]
    told = [json.loads(line) for line in place.call("log", "--json").stdout.splitlines()]
    assert len({row["session_id"] for row in told}) == 1
    assert session in {row["span_id"] for row in told}
    assert place.call("accept", "--force").returncode == 0
    assert (place.project / "new.txt").read_text() == "new\nmore\n"
    assert not (place.project / "a.txt").exists()
    assert place.call("undo").returncode == 0
    assert (place.project / "a.txt").read_text() == "a\n"


def test_it_happens_again_and_again(place: Place) -> None:
    for number in range(4):
        assert place.call("-c", f"echo {number} >> count.txt").returncode == 0
        _end_world(place)
    assert place.call("-c", "cat count.txt").stdout == "0\n1\n2\n3\n"


def test_a_world_that_cannot_run_again_keeps_its_changes_and_says_why(place: Place) -> None:
    place.call("-c", "echo new > new.txt")
    _end_world(place)
    place.write_policy('net_allowed: ["example.org"]\n')
    refused = place.call("-c", "touch ran")
    assert refused.returncode == 4
    assert "none can be enforced" in refused.stderr
    assert place.call("diff").stdout == "+ new.txt\n"
    place.write_policy("")
    assert place.call("-c", "cat new.txt").stdout == "new\n"


def test_another_place_for_the_project_is_not_taken_for_the_old_one(place: Place) -> None:
    bundle = place.home / "bundle"
    shutil.copytree(ROOT / "bundles/host-project", bundle)
    words = ("--bundle", str(bundle))
    assert place.call(*words, "-c", "echo new > new.txt").returncode == 0
    _end_world(place)
    config = json.loads((bundle / "config.json").read_text())
    before = (bundle / "config.json").read_text()
    config["substrate"]["project"]["at"] = "/elsewhere"
    (bundle / "config.json").write_text(json.dumps(config))
    refused = place.call(*words, "-c", "ls")
    assert refused.returncode == 5
    assert "another place" in refused.stderr
    assert place.call(*words, "diff").stdout == "+ new.txt\n"
    (bundle / "config.json").write_text(before)
    assert place.call(*words, "-c", "cat new.txt").stdout == "new\n"
    place.call(*words, "end", "--force")


def test_whoever_is_killed_while_reviving_loses_nothing(place: Place) -> None:
    for command in CHANGES:
        place.call("-c", command)
    before, diff = place.call("-c", LOOK).stdout, place.call("diff").stdout
    for step in range(12):
        _end_world(place) if step else _restart_machine(place)
        child = subprocess.Popen(
            [*place.argv, "-c", "true"], cwd=place.project, env=place.whole_environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.012 * step)
        child.kill()
        child.wait()
        assert place.call("diff").stdout == diff, step
        again = place.call("-c", LOOK)
        assert (again.stdout, again.returncode) == (before, 0), (step, again.stderr)


def test_two_commands_revive_one_world(place: Place) -> None:
    place.call("-c", "echo new > new.txt")
    _end_world(place)
    children = [
        subprocess.Popen(
            [*place.argv, "-c", f"cat new.txt; touch made{number}"], cwd=place.project,
            env=place.whole_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    done = [child.communicate(timeout=60) for child in children]
    assert [out for out, _ in done] == ["new\n"] * 3
    assert sum(REVIVED in err for _, err in done) == 1
    assert place.call("diff").stdout == "+ made0\n+ made1\n+ made2\n+ new.txt\n"


@requires("pty", "tmux")
def test_the_interactive_shell_goes_on(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        pane.run("x=kept; echo new > new.txt; cd sub")
        _end_world(place)
        pane.run("echo $x; cat ../new.txt; basename $PWD")
        assert "\nkept\nnew\nsub\n" in pane.screen()
        assert REVIVED in pane.screen().replace("\n", "")


@requires("rootless_user", "userns.unprivileged", "overlayfs.userxattr")
def test_an_ordinary_user_s_world_runs_again_too(place: Place) -> None:
    place.give_away()

    for command in CHANGES:
        place.call_as_user("-c", command)
    before = place.call_as_user("-c", LOOK)
    _end_world(place)
    assert place.call_as_user("-c", LOOK) == before
    place.call_as_user("end", "--force")
