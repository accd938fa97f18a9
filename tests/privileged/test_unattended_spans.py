"""What a detached span changed is on record once it has ended, whoever looks first."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED, "overlayfs.stacked")

FILES = {"a": "one\n", "d/b": "two\n"}
LOOKS = ("diff", "next", "gc", "rollback", "accept", "fork", "killed")


def detached(session: Session, span_id: str, script: str) -> None:
    """Start a span and wait for nobody."""
    session.runtime(
        "exec", "--detach", "--span", span_id, "--cwd", AT, session.world, "sh", "-c", script
    ).ok()


def others(session: Session) -> list[int]:
    """Return the processes of the world beside its init."""
    pid = calls.state(session.runtime, session.world)["pid"]
    found = session.runtime("ps", "--format", "json", session.world).ok().json()
    return [one for one in found if one != pid]


def ended(session: Session) -> None:
    """Wait until nothing but the init is in the world."""
    calls.until(lambda: not others(session), "the span has ended")


def end(session: Session) -> None:
    """End whatever runs in the world, so that nobody else writes to its layer."""
    for pid in others(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended(session)


def has_record(session: Session, span_id: str) -> bool:
    return (session.data / f"spans/{span_id}.json").exists()


@pytest.mark.parametrize("look", LOOKS)
def test_record_of_a_detached_span_is_there_after_its_end(any_runtime: Runtime, look: str) -> None:
    session = Session(any_runtime, FILES)
    session.span("s0", "echo x >before").ok()
    detached(session, "s1", "echo more >>a; mv d e; sleep 600")
    calls.until(lambda: session.lines("s1") == ["~ a", "> d/ -> e/"], "it has written")
    assert not has_record(session, "s1")
    end(session)
    _look(session, look)
    assert has_record(session, "s1")
    assert not (session.data / "unattended").exists()
    told = session.record("s1")
    assert told["attribution"] == "own"
    assert told["fs_diff"]["mods"] == ["a"]
    assert {entry["path"]: entry.get("hash") for entry in told["fs_diff"]["entries"]}["a"]
    assert session.lines("s1") == ["~ a", "> d/ -> e/"]


def _look(session: Session, look: str) -> None:
    runtime = session.runtime
    if look == "diff":
        assert session.lines("s1") == ["~ a", "> d/ -> e/"]
    elif look == "next":
        session.span("s2", "rm a; echo y >>before").ok()
    elif look == "gc":
        assert runtime("gc", "--json").ok().json() == []
    elif look == "rollback":
        assert runtime("rollback", "w", "s0").ok().stdout == "dropped s1\n"
    elif look == "accept":
        runtime("accept", "w").ok()
    elif look == "fork":
        assert session.fork().record("s1") == session.record("s1")
    else:
        runtime("kill", "w", "KILL").ok()
        calls.until_stopped(runtime, "w")
        assert session.lines("s1") == ["~ a", "> d/ -> e/"]


def test_detached_span_that_changed_nothing_has_a_record_too(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    detached(session, "s1", "cat a")
    ended(session)
    session.span("s2", "echo x >new").ok()
    assert session.record("s1")["fs_diff"]["entries"] == []
    # That it changed nothing was found out when the next was above it.
    assert session.layers() == ["1.s1", "2.s2"]
    assert session.lines("s1") == []
    assert session.lines() == ["+ new"]


def test_detached_spans_that_share_a_layer_have_what_changed_after_their_start(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    detached(session, "s1", "echo 1 >one; while [ ! -e stop ]; do sleep 0.02; done")
    calls.until(lambda: session.lines("s1") == ["+ one"], "the first has begun")
    detached(session, "s2", "echo 2 >>one; echo 2 >two; rm a; chmod 600 d/b")
    calls.until(lambda: "+ two" in session.lines("s1"), "the second has begun")
    session.span("s3", "echo 3 >three; touch stop").ok()
    ended(session)
    session.span("s4", "true").ok()
    for span_id in ("s1", "s2", "s3"):
        assert session.record(span_id)["attribution"] == "shared", span_id
    assert session.lines("s2") == ["- a", "m d/b", "~ one", "+ stop", "+ three", "+ two"]
    assert session.lines("s3") == ["+ stop", "+ three"]
    assert {"+ one", "+ two"} <= set(session.lines("s1"))


def test_span_whose_runtime_was_killed_is_recorded_by_whoever_comes_next(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    script = "echo x >new; sleep 600"
    words = ("exec", "--span", "s1", "--cwd", AT, "w", "sh", "-c", script)
    with calls.begin(session.runtime, *words) as process:
        calls.until(lambda: session.layers() == ["1.s1"], "it has begun")
        calls.until(lambda: session.lines("s1") == ["+ new"], "it has written")
        process.kill()
    end(session)
    session.span("s2", "rm new").ok()
    told: dict[str, Any] = session.record("s1")
    assert told["fs_diff"]["writes"] == ["new"]
    assert session.lines("s2") == ["- new"]
