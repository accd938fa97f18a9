"""Which project and which world a session is, without making any."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.api import sessions
from substrate.api.environment import asked_environment
from substrate.api.judging import Judge
from substrate.api.records import ExecRequest, WorldSpec
from substrate.errors import BundleError, RefusedError, UnsupportedError, UsageError
from substrate.world.store import check_id

if TYPE_CHECKING:
    from pathlib import Path


def test_the_project_is_the_repository_around_the_directory(tmp_path: Path) -> None:
    inner = tmp_path / "repo" / "a" / "b"
    inner.mkdir(parents=True)
    assert sessions.find_project(str(inner)) == str(inner)
    (tmp_path / "repo" / ".git").mkdir()
    assert sessions.find_project(str(inner)) == str(tmp_path / "repo")
    # A worktree or a submodule has a file.
    (inner.parent / ".git").write_text("gitdir: elsewhere\n", encoding="utf-8")
    assert sessions.find_project(str(inner)) == str(inner.parent)


@given(st.binary(min_size=1, max_size=80).map(os.fsdecode))
def test_every_project_has_an_id_that_worlds_may_have(path: str) -> None:
    first = sessions.world_id_of(f"/{path}", "host-project")
    check_id(first)
    assert first == sessions.world_id_of(f"/{path}", "host-project")
    assert first != sessions.world_id_of(f"/{path}x", "host-project")
    assert first != sessions.world_id_of(f"/{path}", "busybox")


def test_what_a_specification_leaves_out_comes_from_the_directory(tmp_path: Path) -> None:
    whole = sessions.complete(WorldSpec(), str(tmp_path))
    assert whole.project_dir == str(tmp_path)
    assert whole.bundle == sessions.DEFAULT_BUNDLE
    assert whole.id == sessions.world_id_of(str(tmp_path), sessions.DEFAULT_BUNDLE)
    named = sessions.complete(WorldSpec("mine", "busybox", "/usr"), str(tmp_path))
    assert (named.id, named.bundle, named.project_dir) == ("mine", "busybox", "/usr")


@pytest.mark.parametrize("project", ["/", "/home", "/home/someone"])
def test_what_holds_the_home_directory_is_no_project(project: str) -> None:
    with pytest.raises(RefusedError, match="home directory"):
        sessions.check_project(project, {"HOME": "/home/someone"})
    sessions.check_project("/home/someone/project", {"HOME": "/home/someone"})
    sessions.check_project("/home/some", {"HOME": "/home/someone"})


def test_a_bundle_is_a_shipped_name_or_a_directory(tmp_path: Path) -> None:
    assert sessions.bundle_directory("busybox").endswith("/busybox")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert sessions.bundle_directory(str(tmp_path)) == str(tmp_path)
    for nothing in ("nosuch", str(tmp_path / "nosuch")):
        with pytest.raises(BundleError, match="there is no bundle"):
            sessions.bundle_directory(nothing)


def test_named_variables_are_given_or_the_caller_s() -> None:
    caller = {"TOKEN": "t", "OTHER": "o"}
    assert asked_environment(["A=1=2", "TOKEN", "B="], caller) == {
        "A": "1=2",
        "TOKEN": "t",
        "B": "",
    }
    for wrong in ("=x", "NOT_SET"):
        with pytest.raises(UsageError):
            asked_environment([wrong], caller)


def _judge(folder: Path, text: str) -> Judge:
    config = folder / "config"
    config.mkdir(mode=0o700)
    (config / "policy.yaml").write_text(text, encoding="utf-8")
    (config / "policy.yaml").chmod(0o600)
    return Judge(None, {"SUBSTRATE_HOME": str(folder)})


def test_the_policy_judges_texts_and_words(tmp_path: Path) -> None:
    judge = _judge(tmp_path, 'cmd_denied: ["rm -rf *"]\n')
    assert judge.decide(ExecRequest(command="ls; rm -rf x")).action == "deny"
    assert judge.decide(ExecRequest(argv=("rm", "-rf", "x"))).action == "deny"
    assert judge.decide(ExecRequest(argv=("echo", "rm -rf x"))).action == "allow"
    known = {"tidy": 'rm -rf "$@"'}
    assert judge.decide(ExecRequest(command="tidy x"), known).action == "deny"


def test_the_policy_s_time_is_the_most_a_command_has(tmp_path: Path) -> None:
    judge = _judge(tmp_path, "limits: {wall_time: 10}\n")
    assert judge.timeout(None) == 10
    assert judge.timeout(3) == 3
    assert judge.timeout(30) == 10
    # It is not the session's.
    settings = judge.settings({"project": {}, "rootfs": {}}, ())
    assert "wallTime" not in settings.get("limits", {})


def test_a_network_that_nobody_can_hold_to_its_domains_is_refused(tmp_path: Path) -> None:
    judge = _judge(tmp_path, "net_allowed: [example.org]\n")
    with pytest.raises(UnsupportedError, match="domains"):
        judge.settings({}, ())
    allowed = judge.settings({"network": {"mode": "host"}}, ("network",))
    assert allowed["network"]["mode"] == "none"


def test_commands_get_what_the_policy_lets_in_and_keep_the_world_s_own(tmp_path: Path) -> None:
    judge = _judge(tmp_path, "env: {allow: [PATH, HOME, TERM, MY_*]}\n")
    caller = {"PATH": "/x", "HOME": "/y", "TERM": "t", "MY_VAR": "v", "SECRET": "s"}
    assert judge.environment(caller) == {"TERM": "t", "MY_VAR": "v"}
