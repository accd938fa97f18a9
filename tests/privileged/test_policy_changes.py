"""A policy that changes: what can hold for the next command does, and what cannot is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.api.records import ExecRequest
from substrate.world.listing import read_state
from tests.support.features import requires
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place({"LICENSE": "mine\n"}) as made:
        yield made


def test_rules_about_commands_hold_for_the_next_one(place: Place) -> None:
    with place.session() as world:
        assert world.exec(ExecRequest(command="echo on")).exit == 0
        place.write_policy('cmd_denied: ["echo *"]\n')
        # A session reads it when it is told to; each command of the shell tells it to.
        world.apply_policy()
        assert world.exec(ExecRequest(command="echo on")).exit == 126
        place.write_policy("")
        world.apply_policy()
        assert world.exec(ExecRequest(command="echo on")).exit == 0
    assert place.warnings == []


def test_the_environment_and_the_time_of_a_command_are_the_policy_s_of_now(place: Place) -> None:
    place.call("-c", "true")
    place.write_policy("env: {allow: [GREETING]}\nlimits: {wall_time: 1}\n")
    told = place.call("-c", "echo $GREETING; sleep 60", env={"GREETING": "hello"})
    assert (told.stdout, told.returncode) == ("hello\n", 124)
    assert "policy has changed" not in told.stderr


def test_what_a_world_is_made_by_waits_for_the_next_and_that_is_said(place: Place) -> None:
    assert place.call("-c", "true").stderr == ""
    place.write_policy("fs: {readonly: [LICENSE]}\nlimits: {open_files: 100}\n")
    told = place.call("-c", "echo still > LICENSE")
    assert told.returncode == 0
    assert told.stderr.count("\n") == 1
    assert "fs.readonly, limits.open_files will hold in the next world" in told.stderr
    place.end()
    again = place.call("-c", "echo no > LICENSE")
    assert again.returncode == 1
    assert "policy has changed" not in again.stderr
    place.write_policy("limits: {open_files: 100}\nfs: {readonly: [LICENSE]}\n")
    assert place.call("-c", "true").stderr == ""


def test_a_world_that_runs_again_is_made_by_the_policy_of_now(place: Place) -> None:
    with place.session() as world:
        assert world.exec(ExecRequest(command="echo new > new.txt")).exit == 0
        place.write_policy("fs: {readonly: [LICENSE]}\n")
        (state,) = (place.home / "state").glob("*/state.json")
        pid = read_state(place.context, state.parent.name).pid
        os.kill(pid, 9)
        os.waitpid(pid, 0) if Path(f"/proc/{pid}").exists() else None
        world.apply_policy()
        assert world.exec(ExecRequest(command="cat new.txt")).exit == 0
        assert world.exec(ExecRequest(command="echo x > LICENSE")).exit == 1
        place.warnings.clear()
        world.apply_policy()
        assert place.warnings == []


@requires("pty", "tmux")
def test_the_interactive_shell_tells_it_once(place: Place) -> None:
    with place.pane() as pane:
        pane.wait_for_prompt()
        place.write_policy('fs: {deny: [LICENSE]}\ncmd_denied: ["echo *"]\n')
        pane.run("cat LICENSE")
        pane.run("echo denied")
        shown = pane.screen().replace("\n", "")
        assert shown.count("fs.deny will hold in the next world") == 1
        assert "denied by cmd_denied:echo *" in shown
