"""What an agent has done is in the world again after an undo, whatever became of it meanwhile."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.desks import FILES, Desk
from tests.support.examples import every
from tests.support.features import requires
from tests.support.mounts import tmpfs
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED)

CHANGES = "echo more >>a; rm d/c; mv d e; mkdir new; echo n >new/n; chmod 600 src/x.c"


def files(session: Session) -> dict[str, str]:
    return {
        str(path.relative_to(session.project)): path.read_text("utf-8")
        for path in session.project.rglob("*")
        if path.is_file()
    }


def spanned(runtime: Runtime) -> tuple[Session, list[str]]:
    """A session of two spans, and its diff."""
    session = Session(runtime, FILES)
    session.span("s1", CHANGES).ok()
    session.span("s2", "echo n2 >>new/n; rm e/b; mkdir d; echo back >d/c").ok()
    return session, session.lines()


def test_changes_of_a_world_that_ended_are_there_again_and_can_be_accepted_again(
    any_runtime: Runtime,
) -> None:
    desk = Desk(any_runtime, CHANGES)
    before = desk.lines()
    assert before
    accepted: dict[str, str] = {}
    for _ in range(3):
        desk("accept").ok()
        assert desk.lines() == []
        accepted = desk.files()
        desk("undo").ok()
        assert desk.files() == FILES
        assert desk.lines() == before
    desk("accept", "new").ok()
    desk("accept").ok()
    assert desk.files() == accepted
    desk("undo").ok()
    desk("undo").ok()
    assert desk.lines() == before
    desk("discard").ok()
    assert desk.lines() == []


@requires("root")
def test_names_of_one_file_are_there_again_where_the_project_is_on_another_file_system(
    runtime: Runtime, other_file_system: Path
) -> None:
    project = other_file_system / "project"
    (project / "d").mkdir(parents=True)
    (project / "one").write_text("1\n", "utf-8")
    for name in ("two", "d/three"):
        os.link(project / "one", project / name)
    desk = Desk(runtime, "echo more >>two", project)
    before = desk.lines()
    assert [line for line in before if line.startswith("~")] == ["~ d/three", "~ one", "~ two"]
    desk("accept").ok()
    desk("undo").ok()
    assert (project / "d/three").read_text("utf-8") == "1\n"
    assert (project / "d/three").stat().st_ino == (project / "one").stat().st_ino
    assert desk.lines() == before
    desk("accept").ok()
    assert (project / "d/three").read_text("utf-8") == "1\nmore\n"
    runtime("delete", "w").ok()


@requires("root")
def test_a_span_has_still_moved_what_an_undo_has_restored_as_a_copy(
    runtime: Runtime, other_file_system: Path
) -> None:
    project = other_file_system / "project"
    project.mkdir()
    session = Session(runtime, FILES, path=project)
    session.span("s1", "echo more >>a; mv a moved").ok()
    words = ("diff", "--patch", "--span", "s1", "w")
    before = runtime(*words).ok().stdout
    assert "rename from a\nrename to moved\n" in before
    number = (project / "a").stat().st_ino
    runtime("accept", "w").ok()
    runtime("undo", "w").ok()
    assert (project / "a").stat().st_ino != number
    assert runtime(*words).ok().stdout == before
    runtime("delete", "--force", "w").ok()


@pytest.fixture
def other_file_system() -> Iterator[Path]:
    with tmpfs("size=8m") as place:
        yield place


def test_accepts_and_undos_follow_each_other_with_spans_between(any_runtime: Runtime) -> None:
    session, first = spanned(any_runtime)
    run, one = any_runtime, files(session)
    run("accept", "w").ok()
    two = files(session)
    session.span("s3", "mv new/n new/m; echo m >>new/m; rm -r d; echo x >src/z.c").ok()
    second = session.lines()
    run("accept", "w", "src").ok()
    run("accept", "w").ok()
    three = files(session)
    session.span("s4", "mv new neu; chmod 700 .; echo late >late").ok()
    for number, expected in ((3, None), (2, two), (1, one)):
        assert f"undid accept {number}," in run("undo", "w").ok().stdout
        assert expected is None or files(session) == expected
    assert session.layers() == ["1.s1", "2.s2", "3.s3", "4.s4"]
    session.span("s5", "cat neu/m late && test ! -e d").ok()
    run("rollback", "w", "s3").ok()
    run("accept", "w").ok()
    assert files(session) == three
    run("undo", "w").ok()
    run("rollback", "w", "s2").ok()
    assert session.lines() == first
    run("accept", "w").ok()
    assert files(session) == two
    session.span("s6", "mv new/n new/m; echo m >>new/m; rm -r d; echo x >src/z.c").ok()
    assert session.lines() == second


def test_a_command_of_no_span_does_not_write_below_what_may_come_back(
    any_runtime: Runtime,
) -> None:
    session, before = spanned(any_runtime)
    any_runtime("accept", "w").ok()
    any_runtime("exec", "--cwd", AT, "w", "sh", "-c", "echo plain >>new/n; mv new neu").ok()
    assert session.layers() == ["3.exec-3"]
    any_runtime("undo", "w").ok()
    assert files(session) == FILES
    assert session.layers() == ["1.s1", "2.s2", "3.exec-3"]
    shown = any_runtime("exec", "--cwd", AT, "w", "cat", "neu/n").ok().stdout
    assert shown == "n\nn2\nplain\n"
    any_runtime("rollback", "w", "s2").ok()
    assert session.lines() == before


def test_undo_waits_for_processes_that_would_see_their_files_vanish(any_runtime: Runtime) -> None:
    session, _ = spanned(any_runtime)
    any_runtime("accept", "w").ok()
    accepted = files(session)
    words = ("--span", "s3", "--detach", "--cwd", AT, "w", "sh", "-c")
    any_runtime("exec", *words, "echo later >later; sleep 600").ok()
    refused = any_runtime("undo", "w")
    assert refused.status == 5
    assert "processes of the world use the layers above it" in refused.stderr
    assert files(session) == accepted
    for pid in any_runtime("ps", "--format", "json", "w").ok().json()[1:]:
        os.kill(pid, 9)
    calls.until(lambda: not any_runtime("undo", "w").status, "undone")
    assert files(session) == FILES
    assert any_runtime("exec", "--cwd", AT, "w", "cat", "later", "new/n").ok().stdout == (
        "later\nn\nn2\n"
    )


def test_undo_works_after_the_world_has_ended(any_runtime: Runtime) -> None:
    session, before = spanned(any_runtime)
    any_runtime("accept", "w").ok()
    any_runtime("kill", "w", "KILL").ok()
    calls.until_stopped(any_runtime, "w")
    any_runtime("undo", "w").ok()
    assert files(session) == FILES
    assert session.lines() == before
    any_runtime("accept", "w").ok()
    assert session.lines() == []
    any_runtime("undo", "w").ok()
    assert session.lines() == before


def test_points_that_are_in_the_project_by_now_are_not_gone_back_to(any_runtime: Runtime) -> None:
    session, before = spanned(any_runtime)
    any_runtime("snapshot", "w", "begun").ok()
    session.span("s3", "echo third >third").ok()
    any_runtime("accept", "w").ok()
    session.span("s4", "echo fourth >fourth").ok()
    for point in ("s1", "begun"):
        refused = any_runtime("rollback", "w", point)
        assert refused.status == 5
        assert f"what came after {point} is accepted" in refused.stderr
        assert "undo w" in refused.stderr
    any_runtime("rollback", "w", "s3").ok()
    assert session.lines() == []
    any_runtime("undo", "w").ok()
    any_runtime("rollback", "w", "begun").ok()
    assert session.lines() == before


def test_changes_come_back_also_where_an_edit_gives_way(any_runtime: Runtime) -> None:
    session, before = spanned(any_runtime)
    any_runtime("accept", "w").ok()
    session.span("s3", "echo third >>new/n").ok()
    (session.project / "a").write_text("a person\n", "utf-8")
    assert any_runtime("undo", "w").status == 6
    assert session.layers() == ["3.s3"]
    told = any_runtime("undo", "--theirs", "w").ok().stdout
    assert told.endswith("\nsubstrate-runtime diff w shows what is a change of the world again\n")
    assert files(session) == FILES
    assert any_runtime("exec", "--cwd", AT, "w", "cat", "a", "new/n").ok().stdout == (
        "one\nmore\nn\nn2\nthird\n"
    )
    any_runtime("rollback", "w", "s2").ok()
    assert session.lines() == before


def test_what_was_discarded_after_an_accept_stays_so(any_runtime: Runtime) -> None:
    session, before = spanned(any_runtime)
    any_runtime("accept", "w").ok()
    session.span("s3", "echo third >third").ok()
    any_runtime("discard", "w").ok()
    any_runtime("undo", "w").ok()
    assert session.lines() == before
    assert session.layers() == ["1.s1", "2.s2"]


def killed_at(runtime: Runtime, number: int, *words: str) -> bool:
    """Call the runtime and kill it before its n-th rename(2); False when it got through."""
    argv, environment = calls.bare(runtime)
    inject = f"inject=rename,renameat2:signal=SIGKILL:when={number}"
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=rename,renameat2", "-e", inject, *argv,
         *words],
        env=environment, cwd=runtime.folder, stdin=subprocess.DEVNULL, check=False, timeout=60,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode != 0


@requires("strace")
@pytest.mark.parametrize("verb", ["accept", "undo"])
def test_whatever_comes_after_a_kill_finds_one_state_or_the_other(
    runtime: Runtime, verb: str
) -> None:
    session, before = spanned(runtime)
    old = files(session)
    runtime("accept", "w").ok()
    new = files(session)
    runtime("undo", "w").ok()
    look = ("--cwd", AT, "w", "sh", "-c", "cat new/n d/c a; ls; ls src")
    # What comes next, in turn: a span, a plain command, gc, diff.
    nexts: tuple[tuple[str, ...], ...] = (
        ("exec", "--span", "next", *look), ("exec", *look), ("gc",), ("diff", "w"),
    )  # fmt: skip
    shown = runtime(*nexts[1]).ok().stdout
    runtime("rollback", "w", "s2").ok()
    number, died, outcomes = 1, True, set[str]()
    while died:
        if verb == "undo":
            runtime("accept", "w").ok()
        died = killed_at(runtime, number, verb, "w")
        after = nexts[number % len(nexts)]
        told = runtime(*after).ok().stdout
        assert "exec" not in after or told == shown
        is_old = files(session) == old
        outcomes.add("old" if is_old else "new")
        assert is_old or files(session) == new
        if "exec" in after:
            drop = runtime("rollback", "w", "s2").ok().stdout
            assert drop
        assert session.lines() == (before if is_old else [])
        if not is_old:
            runtime("undo", "w").ok()
        assert files(session) == old
        assert session.lines() == before
        assert session.layers() == ["1.s1", "2.s2"]
        spans = session.data / "spans"
        for path in [*spans.glob("next.json"), *spans.glob("exec-*.json")]:
            path.unlink()
        number += every(3)
    assert outcomes == {"old", "new"}
    assert number > 10


@requires("strace")
def test_gc_tells_of_a_killed_accept_and_takes_it_back(runtime: Runtime) -> None:
    session, before = spanned(runtime)
    old = files(session)
    # Everything is exchanged, and not committed.
    number = next(n for n in range(1, 40) if is_exchanged(session, n, old))
    assert killed_at(runtime, number, "accept", "w")
    changed = files(session)
    assert changed != old

    def gc(*words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = runtime("gc", "--json", *words).ok().json()
        return found

    (shown,) = gc("--dry-run")
    assert (shown["kind"], shown["outcome"]) == ("accept", "found")
    assert shown["path"] == str(session.data / "accept")
    assert shown["command"] == "substrate-runtime diff w"
    assert files(session) == changed
    (done,) = gc()
    assert done["outcome"] == "removed"
    assert files(session) == old
    assert session.lines() == before
    assert gc() == []


def is_exchanged(session: Session, number: int, old: dict[str, str]) -> bool:
    """Whether an accept that is killed at its n-th rename has moved something by then."""
    assert killed_at(session.runtime, number, "accept", "w")
    found = files(session) != old
    session.lines()
    assert files(session) == old
    return found


@requires("strace")
def test_layers_that_cannot_be_put_away_for_want_of_room_are_told_and_put_away_later(
    runtime: Runtime,
) -> None:
    desk = Desk(runtime, CHANGES)
    before = desk.lines()
    argv, environment = calls.bare(runtime)
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-P", str(desk.data / "layer.fresh"),
         "-e", "trace=mkdir", "-e", "inject=mkdir:error=ENOSPC", *argv, "accept", "w"],
        env=environment, cwd=runtime.folder, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the project is changed, but not the layers of w: no space left" in done.stderr
    assert "substrate-runtime diff w" in done.stderr
    assert desk.files() != FILES
    assert desk.lines() == []
    desk("undo").ok()
    assert desk.files() == FILES
    assert desk.lines() == before
