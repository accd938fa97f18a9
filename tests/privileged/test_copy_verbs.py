"""What holds for the verbs on layers holds for them on copies: the same tests, on an overlay."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.privileged import test_accept as layered
from tests.support import calls, features
from tests.support.attack import host_view_bundle
from tests.support.desks import FILES, Desk
from tests.support.overlaid import overlaid_runtime
from tests.support.refusals import refused
from tests.support.runtime import ROOT, Runtime
from tests.support.spans import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = features.requires("root", *calls.LAYERED)
_ALLOWED = ("--allow-degraded", "overlay")
_SAME = (
    layered.test_a_dry_run_shows_what_would_be_and_changes_nothing,
    layered.test_a_host_edit_of_the_same_file_is_a_conflict_and_nothing_is_applied,
    layered.test_a_world_that_runs_keeps_its_layer_and_what_is_accepted_compares_equal,
    layered.test_accept_makes_the_project_what_the_world_saw_and_undo_what_it_was,
    layered.test_an_accept_that_is_killed_is_taken_back_by_whatever_comes_next,
    layered.test_an_edit_after_an_accept_is_a_conflict_of_undo,
    layered.test_discard_forgets_everything_or_a_part,
    layered.test_names_that_only_a_payload_would_choose_arrive_as_they_are,
    layered.test_only_what_the_host_changed_after_the_span_began_is_a_conflict,
    layered.test_ours_keeps_the_hosts_version_and_takes_the_rest,
    layered.test_part_of_the_changes_is_accepted_and_the_rest_is_still_there,
    layered.test_rename_that_was_accepted_and_undone_can_be_accepted_again,
    layered.test_risky_changes_need_an_explicit_yes,
    layered.test_the_same_change_on_both_sides_is_no_conflict,
    layered.test_theirs_takes_the_worlds_version_and_undo_brings_the_hosts_back,
    layered.test_what_is_not_there_to_accept_is_a_usage_error,
    layered.test_what_is_risky_at_its_new_place_is_found_in_a_directory_that_moved,
)
# Here they run with the fixtures of this module.
globals().update({test.__name__: test for test in _SAME})


@pytest.fixture
def runtime(rootfs: Path) -> Iterator[Runtime]:
    with overlaid_runtime(rootfs) as made:
        made.options = _ALLOWED
        yield made


@pytest.fixture(params=["as_caller", "rootless"])
def any_runtime(request: pytest.FixtureRequest, rootfs: Path) -> Iterator[Runtime]:
    as_user = request.param == "rootless"
    if as_user:
        features.check(["rootless_user", "userns.unprivileged"])
    with overlaid_runtime(rootfs, as_user=as_user) as made:
        made.options = _ALLOWED
        yield made


def overlaid(runtime: Runtime, files: dict[str, str], **project: Any) -> Session:
    """An idle world of a project, with a copy of it."""
    return Session(runtime, FILES | files, **project)


def test_without_leave_a_world_on_an_overlay_is_refused_and_told_the_way_out(
    any_runtime: Runtime,
) -> None:
    any_runtime.options = ()
    project = any_runtime.folder / "p"
    project.mkdir()
    os.chown(project, any_runtime.uid, any_runtime.gid)
    bundle = host_view_bundle(any_runtime)
    refused(
        any_runtime, "run", "--bundle", bundle, "--project", project, "w", "true",
        status=4, says="cannot (stage the overlay of|show) ", hint="--allow-degraded overlay",
    )  # fmt: skip
    assert any_runtime.worlds() == []
    assert list((any_runtime.home / "data").iterdir()) == []


def test_a_copy_is_told_once_and_on_record(any_runtime: Runtime) -> None:
    project = any_runtime.folder / "p"
    project.mkdir()
    os.chown(project, any_runtime.uid, any_runtime.gid)
    bundle = host_view_bundle(any_runtime, substrate={"allowDegraded": ["overlay"]})
    any_runtime.options = ()
    words = ("--keep", "--bundle", bundle, "--project", project, "w", "touch", f"{project}/made")
    told = any_runtime("run", *words).ok().stderr.splitlines()
    assert len(told) == 1
    assert "warning: overlay: the world has a copy of its project" in told[0]
    assert "the data is on overlay" in told[0]
    state = calls.state(any_runtime, "w")["substrate"]
    assert [loss["name"] for loss in state["degraded"]] == ["overlay"]
    assert state["project"]["copied"]
    assert any_runtime("diff", "w").ok().stdout == "+ made\n"
    assert list(project.iterdir()) == []


def test_where_an_overlay_can_be_had_leave_to_do_without_changes_nothing(rootfs: Path) -> None:
    runtime = Runtime(rootfs)
    try:
        runtime.options = _ALLOWED
        desk = Desk(runtime, "echo more >>a")
        state = calls.state(runtime, "w")["substrate"]
        assert state["degraded"] == []
        assert not state["project"]["copied"]
        assert desk.lines() == ["~ a"]
    finally:
        assert runtime.close() == []


def test_spans_on_a_copy_share_it_and_have_diffs_of_their_own(any_runtime: Runtime) -> None:
    session = overlaid(any_runtime, {})
    session.span("s1", "echo more >>a; mv d e; echo n >new").ok()
    session.span("s2", "cat a e/b; rm new; ln src/x.c linked; chmod 600 src/y.h").ok()
    session.span("s3", "true").ok()
    first, second = session.diff("s1"), session.diff("s2")
    assert (first["mods"], first["renames"], first["writes"]) == (["a"], [["d", "e"]], ["new"])
    assert (second["writes"], second["deletes"], second["meta"]) == (
        ["linked"], ["new"], ["src/y.h"]
    )  # fmt: skip
    assert session.diff("s3")["entries"] == []
    record = json.loads((any_runtime.home / "data/w/spans/s1.json").read_text("utf-8"))
    assert record["attribution"] == "shared"
    whole = session.diff()
    assert (whole["mods"], whole["renames"], whole["writes"]) == (
        ["a"], [["d", "e"]], ["linked"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("rollback", "w", "s1"),
        ("rollback", "--all", "w"),
        ("snapshot", "w", "now"),
        ("discard", "--span", "s1", "w"),
    ],
)
def test_what_needs_layers_is_refused_by_name(runtime: Runtime, words: tuple[str, ...]) -> None:
    session = overlaid(runtime, {})
    session.span("s1", "echo more >>a").ok()
    told = runtime(*words)
    assert told.status == 4
    assert "has a copy of its project and no layers" in told.stderr
    assert "hint: " in told.stderr
    assert session.diff()["mods"] == ["a"]


def test_a_person_s_edits_show_in_the_world_where_it_has_changed_nothing(
    any_runtime: Runtime,
) -> None:
    session = overlaid(any_runtime, {})
    session.span("s1", "echo world >>a; mkdir mine; echo w >mine/w; rm src/y.h").ok()
    project = session.project
    (project / "d/b").write_text("edited\n", "utf-8")
    (project / "d/c").unlink()
    (project / "d/made").write_text("made\n", "utf-8")
    for path in (project / "a", project / "src/y.h"):
        path.write_text("a person\n", "utf-8")
    os.chown(project / "d/made", any_runtime.uid, any_runtime.gid)
    seen = session.span("s2", "cat a d/b d/made mine/w; ls d; ls src").ok().stdout
    assert seen == "one\nworld\nedited\nmade\nw\nb\nmade\nx.c\n"
    assert session.diff("s2")["entries"] == []
    # Both sides changed these two; what the person did elsewhere is no change of the world's.
    assert any_runtime("diff", "w").ok().stdout.splitlines() == [
        "~ a", "+ mine/", "+ mine/w", "- src/y.h"
    ]  # fmt: skip
    told = any_runtime("accept", "--json", "w")
    assert told.status == 6
    assert [one["path"] for one in told.json()["conflicts"]] == ["a", "src/y.h"]
    any_runtime("accept", "w", "mine").ok()
    assert (project / "mine/w").read_text("utf-8") == "w\n"


def test_directory_that_the_world_has_closed_stays_as_it_is_and_keeps_nobody_off(
    any_runtime: Runtime,
) -> None:
    session = overlaid(any_runtime, {})
    session.span("s1", "echo mine >d/mine; chmod 500 d").ok()
    for name in ("d/hosts", "hosts"):
        path = session.project / name
        path.write_text("hosts\n", "utf-8")
        os.chown(path, any_runtime.uid, any_runtime.gid)
    assert session.span("s2", "cat hosts; chmod 755 d").ok().stdout == "hosts\n"
    assert any_runtime("diff", "w").ok().stdout.splitlines() == ["+ d/mine"]
    assert session.span("s3", "cat d/hosts d/mine").ok().stdout == "hosts\nmine\n"
    any_runtime("accept", "w").ok()
    assert (session.project / "d/hosts").read_text("utf-8") == "hosts\n"


def test_processes_that_live_keep_the_copy_they_have(runtime: Runtime) -> None:
    session = Session(runtime, FILES, idle=False)
    (session.project / "d/b").write_text("edited\n", "utf-8")
    run = ("exec", "w", "cat", "/work/d/b")
    assert runtime(*run).ok().stdout == "two\n"


def test_denied_paths_are_never_copied_and_masked_all_the_same(any_runtime: Runtime) -> None:
    secret = {".env": "secret\n", "keys/k": "secret\n"}
    session = overlaid(any_runtime, secret, deny=[".env", "keys"])
    copy = any_runtime.home / "data/w/layer/copy"
    assert (copy / ".env").read_bytes() == b""
    assert list((copy / "keys").iterdir()) == []
    seen = session.span("s1", "cat .env; ls keys; echo x >.env; rm -r .env keys; echo o >a")
    assert "secret" not in seen.stdout + seen.stderr
    assert session.diff()["mods"] == ["a"]
    any_runtime("accept", "w").ok()
    assert (session.project / ".env").read_text("utf-8") == "secret\n"
    assert (session.project / "keys/k").read_text("utf-8") == "secret\n"
    # A copy that is made equal again keeps its masks.
    any_runtime("discard", "w").ok()
    assert session.span("s2", "cat .env; ls keys; cat keys/k").stdout == ""


def test_a_project_larger_than_the_limit_disk_is_refused(runtime: Runtime) -> None:
    big = runtime.folder / "p"
    big.mkdir()
    with (big / "big").open("wb") as file:
        file.write(os.urandom(1 << 20))
    bundle = host_view_bundle(runtime, substrate={"limits": {"disk": 1 << 16}})
    words = ("run", "--bundle", bundle, "--project", big, "w", "true")
    # An overlay keeps no quota, so the limit itself is what cannot be had here.
    refused(runtime, *words, status=4, says="the limit disk cannot be enforced")
    runtime.options = (*_ALLOWED, "--allow-degraded", "limit.disk")
    runtime(*words).ok()


def test_a_full_disk_is_told_by_name_and_leaves_nothing(any_runtime: Runtime) -> None:
    project = any_runtime.folder / "p"
    project.mkdir()
    os.chown(project, any_runtime.uid, any_runtime.gid)
    below = any_runtime.folder / "below"
    subprocess.run(["mount", "-o", "remount,size=4m", below], check=True)
    with (project / "big").open("wb") as file:
        file.write(os.urandom(8 << 20))
    (project / "big").chmod(0o644)
    bundle = host_view_bundle(any_runtime)
    words = ("run", "--bundle", bundle, "--project", project, "w", "true")
    says = "copying .*no space left on device"
    refused(any_runtime, *words, status=1, says=says, hint="make room")
    assert any_runtime.worlds() == []
    assert list((any_runtime.home / "data").iterdir()) == []
    (project / "big").unlink()
    any_runtime(*words).ok()


@features.requires("rootless_user", "userns.unprivileged")
def test_what_an_ordinary_user_cannot_read_is_named(rootfs: Path) -> None:
    with overlaid_runtime(rootfs, as_user=True) as made:
        made.options = _ALLOWED
        project = made.folder / "p"
        project.mkdir()
        (project / "closed").write_text("root's\n", "utf-8")
        (project / "closed").chmod(0o600)
        os.chown(project, made.uid, made.gid)
        words = ("run", "--keep", "--project", project)
        refused(
            made, *words, "--bundle", host_view_bundle(made), "w", "true",
            status=4, says="copying closed: permission denied", hint="project.deny",
        )  # fmt: skip
        bundle = host_view_bundle(made, substrate={"project": {"deny": ["closed"]}})
        made(*words, "--bundle", bundle, "w", "true").ok()
        assert made("diff", "w").ok().stdout == ""


def test_files_of_others_are_shown_as_theirs(rootfs: Path) -> None:
    with overlaid_runtime(rootfs, as_user=True) as made:
        made.options = _ALLOWED
        project = made.folder / "p"
        project.mkdir()
        (project / "roots").write_text("readable\n", "utf-8")
        (project / "roots").chmod(0o644)
        os.chown(project, made.uid, made.gid)
        words = ("run", "--keep", "--bundle", host_view_bundle(made), "--project", project, "w")
        made(*words, "touch", f"{project}/roots").ok()
        assert made("diff", "w").ok().stdout == ""
        assert made("diff", "--json", "w").ok().json()["meta"] == []


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3, 0.5])
def test_a_runtime_killed_while_it_copies_leaves_a_world_that_can_be_deleted(
    runtime: Runtime, delay_s: float
) -> None:
    project = runtime.folder / "p"
    for number in range(3000):
        path = project / f"{number % 50}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    bundle = host_view_bundle(runtime)
    words = ("run", "--keep", "--bundle", bundle, "--project", project, "w", "true")
    with calls.begin(runtime, *words) as process:
        time.sleep(delay_s)
        process.kill()
        process.wait()
    runtime("delete", "--force", "w")
    assert list(runtime.home.glob("data/*")) == []
    runtime(*words).ok()


def test_gc_keeps_a_lost_copy_with_changes_and_removes_one_without(runtime: Runtime) -> None:
    for script, left in (("echo more >>a", True), ("cat a", False)):
        desk = Desk(runtime, script, runtime.folder / f"of-{left}")
        shutil.rmtree(runtime.home / "state/w")
        told = runtime("gc").ok().stdout
        assert desk.data.exists() == left, told
        runtime("gc", "--layers").ok()
        assert not desk.data.exists()


def test_a_damaged_table_is_an_error_and_no_change(runtime: Runtime) -> None:
    desk = Desk(runtime, "echo more >>a")
    table = desk.data / "layer/table"
    table.write_bytes(table.read_bytes()[:-7])
    for verb in ("diff", "accept", "discard"):
        told = desk(verb)
        assert told.status == 1
        assert "is damaged" in told.stderr
    assert desk.files() == FILES
    runtime("delete", "w").ok()


@pytest.mark.parametrize("moment", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_discard_of_a_part_that_is_killed_is_finished_by_what_comes_next(
    runtime: Runtime, moment: float
) -> None:
    desk = Desk(runtime, "for i in $(seq 300); do echo $i >d/new$i; done; echo x >>d/b; echo y >>a")
    argv, environment = calls.bare(runtime)
    process = subprocess.Popen(
        [*argv, "discard", "w", "d"], env=environment, stderr=subprocess.DEVNULL
    )
    time.sleep(0.1 + moment)
    process.kill()
    process.wait()
    lines = desk.lines()
    if lines != ["~ a"]:
        # It was killed before anything was decided: then all of it is there.
        assert len(lines) == 302
        desk("discard", "d").ok()
    assert desk.lines() == ["~ a"]
    desk("accept").ok()
    assert desk.files() == FILES | {"a": "one\ny\n"}


def test_a_session_is_accepted_undone_and_goes_on(any_runtime: Runtime) -> None:
    session = overlaid(any_runtime, {})
    session.span("s1", "echo more >>a; mv d e").ok()
    any_runtime("accept", "w").ok()
    assert (session.project / "e/b").read_text("utf-8") == "two\n"
    assert session.diff()["entries"] == []
    session.span("s2", "echo again >>a; cat e/b").ok()
    assert any_runtime("diff", "w").ok().stdout == "~ a\n"
    any_runtime("accept", "w").ok()
    for left in ("~ a\n", "~ a\n> d/ -> e/\n"):
        any_runtime("undo", "w").ok()
        assert any_runtime("diff", "w").ok().stdout == left
    assert (session.project / "a").read_text("utf-8") == "one\n"
    assert session.span("s3", "cat a e/b").ok().stdout == "one\nmore\nagain\ntwo\n"
    any_runtime("accept", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "one\nmore\nagain\n"


def test_a_world_that_has_ended_runs_again_on_its_copy(runtime: Runtime) -> None:
    project = runtime.folder / "p"
    project.mkdir()
    (project / "a").write_text("one\n", "utf-8")
    program = str(ROOT / ".venv/bin/substrate")

    def shell(*words: str) -> str:
        done = subprocess.run(
            [program, *words], env=runtime.environment, cwd=project, check=False,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done
        return done.stdout

    command = (*_ALLOWED, "-c")
    shell(*command, "echo more >>a")
    (world,) = runtime.worlds()
    runtime("kill", world, "KILL").ok()
    calls.until_stopped(runtime, world)
    assert shell("diff") == "~ a\n"
    (project / "host").write_text("seen\n", "utf-8")
    assert shell(*command, "cat a host; echo again >>a") == "one\nmore\nseen\n"
    assert calls.state(runtime, world)["substrate"]["project"]["copied"]
    shell("accept")
    assert (project / "a").read_text("utf-8") == "one\nmore\nagain\n"
    shell("end")
    # What was done stays on record.
    shutil.rmtree(runtime.home / "data/@trace")


def test_a_fork_of_a_copy_is_refused_by_name(runtime: Runtime) -> None:
    overlaid(runtime, {})
    told = runtime("fork", "w", "other")
    assert told.status == 4
    assert "has a copy of its project and no layers" in told.stderr
    assert runtime.worlds() == ["w"]
