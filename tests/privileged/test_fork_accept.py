"""Both worlds of a fork are accepted, and what a person changed meanwhile is never lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.spans import Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED, "overlayfs.stacked")

FILES = {"a": "one\n", "d/b": "two\n", "d/c": "three\n", "x": "x\n", "y": "y\n"}
# Longer than a tick of the clock that files are stamped with.
TICK_S = 0.012


def test_second_accept_meets_no_conflict_with_what_both_inherited(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "echo 1 >>a; echo n >n; rm d/c; chmod 600 x; echo y >>y; ln -s a l").ok()
    other = first.fork()
    time.sleep(TICK_S)
    first.span("s2", "echo first >>n").ok()
    first.runtime("discard", "--dry-run", "w").ok()
    first.runtime("rollback", "w", "s1").ok()
    first.runtime("accept", "w").ok()
    time.sleep(TICK_S)
    # Each of these was changed by the accept, too.
    other.span("s2", "echo 2 >>a; rm n; echo new >d/c; echo x2 >>x; chmod 640 y; rm l").ok()
    other.runtime("accept", "f").ok()
    assert other.files() == {
        "a": "one\n1\n2\n", "d/b": "two\n", "d/c": "new\n", "x": "x\nx2\n", "y": "y\ny\n",
    }  # fmt: skip
    assert (other.project / "x").stat().st_mode & 0o777 == 0o600
    assert (other.project / "y").stat().st_mode & 0o777 == 0o640
    assert other.lines() == []
    other.runtime("undo", "f").ok()
    assert other.files()["a"] == "one\n1\n"


def test_what_the_first_world_changed_after_the_fork_is_a_conflict(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "echo 1 >>a; echo n >n; echo x >>x").ok()
    other = first.fork()
    time.sleep(TICK_S)
    first.span("s2", "echo first >>a; rm n; chmod 600 x").ok()
    first.runtime("accept", "w").ok()
    other.span("s2", "echo other >>a; echo other >>n; echo other >>x; echo y >>y").ok()
    before = other.files()
    refused = other.runtime("accept", "f")
    assert refused.status == 6
    told = {line.partition(":")[0].removeprefix("substrate-runtime").strip()
            for line in refused.stderr.splitlines()}  # fmt: skip
    assert "y" not in told
    assert "a: changed on the host" in refused.stderr
    assert "x: changed on the host" in refused.stderr
    assert other.files() == before
    other.runtime("accept", "f", "y").ok()
    assert other.files()["y"] == "y\ny\n"


@pytest.mark.parametrize("when", ["before", "after"])
def test_host_edit_since_the_first_world_took_a_file_over_is_a_conflict_of_the_fork(
    any_runtime: Runtime, when: str
) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "echo 1 >>a; rm d/c; chmod 600 x; mv y z").ok()
    time.sleep(TICK_S)

    def edit() -> None:
        for name in ("a", "d/c", "x", "y"):
            (first.project / name).write_text("a person\n", "utf-8")

    if when == "before":
        edit()
    other = first.fork()
    if when == "after":
        time.sleep(TICK_S)
        edit()
    before = other.files()
    for world in ("f", "w"):
        refused = first.runtime("accept", world)
        assert refused.status == 6
        for name in ("a", "d/c", "x"):
            assert f"{name}: changed on the host" in refused.stderr
        assert other.files() == before
    # The positive control: what the person leaves alone is accepted.
    other.span("s2", "echo 2 >>d/b").ok()
    other.runtime("accept", "f", "d/b").ok()
    assert other.files()["d/b"] == "two\n2\n"


def test_host_edit_that_the_first_world_had_seen_is_none(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "echo 1 >>x").ok()
    time.sleep(TICK_S)
    (first.project / "a").write_text("a person\n", "utf-8")
    time.sleep(TICK_S)
    first.span("s2", "cat a; echo 2 >>a").ok()
    other = first.fork()
    other.runtime("accept", "f").ok()
    assert other.files()["a"] == "a person\n2\n"


def test_what_both_had_moved_is_found_again_by_the_second(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "mv d e; echo more >>e/b; mv a b").ok()
    other = first.fork()
    other.span("s2", "mv e g").ok()
    first.runtime("accept", "w").ok()
    accepted = first.files()
    assert accepted == {
        "b": "one\n",
        "e/b": "two\nmore\n",
        "e/c": "three\n",
        "x": "x\n",
        "y": "y\n",
    }
    look = "cat b g/b g/c; echo 2 >>g/c; echo 3 >>b"
    assert other.span("s3", look).ok().stdout == "one\ntwo\nmore\nthree\n"
    if not any_runtime.is_rootless:
        assert other.lines() == ["~ b", "> e/ -> g/", "~ g/c"]
    other.runtime("accept", "f").ok()
    assert other.files() == {
        "b": "one\n3\n", "g/b": "two\nmore\n", "g/c": "three\n2\n", "x": "x\n", "y": "y\n",
    }  # fmt: skip


def test_an_undo_of_what_both_had_moved_is_followed_too(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "mv d e; mv a b; chmod 600 x").ok()
    other = first.fork()
    shown = other.diff()["entries"]
    first.runtime("accept", "w").ok()
    assert other.lines() == []
    assert other.span("s2", "cat b e/c").ok().stdout == "one\nthree\n"
    first.runtime("undo", "w").ok()
    assert first.files() == FILES
    assert other.diff()["entries"] == shown
    assert other.span("s3", "cat b e/c").ok().stdout == "one\nthree\n"
    # That the first world put it back as it was, the second cannot know.
    assert other.runtime("accept", "f").status == 6
    assert other.files() == FILES
    other.runtime("accept", "--theirs", "f").ok()
    assert set(other.files()) == {"b", "e/b", "e/c", "x", "y"}


def test_directory_that_a_person_moved_like_the_world_is_never_emptied(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "mv d e").ok()
    (session.project / "d").rename(session.project / "e")
    before = session.files()
    session.runtime("accept", "w")
    assert session.files() == before
