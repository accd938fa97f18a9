"""A fork begins with what its first world shows, and from there each goes its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import calls
from tests.support.features import requires
from tests.support.spans import Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED, "overlayfs.stacked")

FILES = {"a": "one\n", "d/b": "two\n", "d/c": "three\n", "x": "x\n"}


def test_fork_shows_what_its_first_world_shows_and_both_go_on_alone(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "echo more >>a; mv d e; ln -s a link; mkfifo pipe").ok()
    first.span("s2", "rm e/c; chmod 600 x; touch -d @1 e/b").ok()
    other = first.fork()
    assert other.lines() == first.lines()
    assert other.diff() == first.diff()
    for span in ("s1", "s2"):
        assert other.diff(span) == first.diff(span)
    first.span("s3", "echo first >mine; rm a").ok()
    other.span("s3", "ls; cat a e/b; echo fork >own").ok()
    assert first.lines("s3") == ["- a", "+ mine"]
    assert other.lines("s3") == ["+ own"]
    assert "+ mine" not in other.lines()
    assert "- a" not in other.lines()
