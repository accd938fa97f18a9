"""A fork begins with what its first world shows, and from there each goes its own way."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.support import calls, injection
from tests.support.attack import host_view_bundle
from tests.support.desks import Desk
from tests.support.examples import examples
from tests.support.features import requires
from tests.support.spans import AT, Session

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


def test_fork_of_an_earlier_span_has_nothing_of_the_later_ones(any_runtime: Runtime) -> None:
    first = Session(any_runtime, FILES)
    first.span("s1", "echo 1 >>a; mv d e").ok()
    then = first.diff()
    first.runtime("snapshot", "w", "named").ok()
    first.span("idle", "cat a").ok()
    first.span("s2", "echo 2 >>a; mv e/b moved").ok()
    first.span("s3", "rm -r e a").ok()
    for number, point in enumerate(("s1", "named", "idle")):
        other = first.fork(f"f{number}", at=point)
        assert other.diff() == then
        assert other.span("look", "ls; cat a").ok().stdout == "a\ne\nx\none\n1\n"
        assert other.layers() == ["1.s1", "2.look"]
    other = first.fork("late", at="s2")
    assert other.span("look", "ls; cat a").ok().stdout == "a\ne\nmoved\nx\none\n1\n2\n"
    # The history is its own: back to an inherited span, and on.
    other.runtime("rollback", "late", "s1").ok()
    assert other.diff() == then
    assert first.lines("s3") == ["- a", "- d/", "- d/c"] or "- a" in first.lines("s3")
    assert first.span("s4", "ls").ok().stdout == "moved\nx\n"


def test_point_whose_layers_were_dropped_is_none_any_more(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    session.span("s2", "echo 2 >>a").ok()
    session.span("idle", "cat a").ok()
    session.runtime("rollback", "w", "s1").ok()
    session.span("s3", "echo 3 >>a").ok()
    session.span("s4", "echo 4 >>a").ok()
    for gone in ("s2", "idle"):
        for words in (("fork", "--at", gone, "w", "f"), ("rollback", "w", gone)):
            refused = session.runtime(*words)
            assert refused.status == 1
            assert f"the layers of {gone} were dropped" in refused.stderr
    other = session.fork(at="s3")
    assert other.span("look", "cat a").ok().stdout == "one\n1\n3\n"
    for later in ("s2", "s4"):
        assert other.runtime("fork", "--at", later, "f", "g").status == 1
    assert other.fork("g", at="s1").span("look", "cat a").ok().stdout == "one\n1\n"
    assert session.runtime.worlds() == ["f", "g", "w"]


def test_fork_waits_for_nobody_and_is_refused_while_its_layers_are_written(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    server = "(while [ ! -e stop ]; do echo x >>log; sleep 0.02; done) >/dev/null 2>&1 &"
    session.span("s2", f"touch log; {server}").ok()
    for words in ((), ("--at", "s2")):
        refused = session.runtime("fork", *words, "w", "f")
        assert refused.status == 1
        assert "processes of the world w still use its layers" in refused.stderr
        assert "--at SPAN" in refused.stderr
    assert session.runtime.worlds() == ["w"]
    # What lies below is sealed, whoever runs.
    other = session.fork(at="s1")
    assert other.span("look", "ls; cat a").ok().stdout == "a\nd\nx\none\n1\n"
    session.runtime("exec", "--cwd", AT, "w", "touch", "stop").ok()
    calls.until(lambda: session.runtime("fork", "w", "g").status == 0, "at rest")
    assert "+ log" in session.named("g").lines()


def test_fork_of_a_world_that_has_ended_goes_on_where_it_ended(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a; mkdir n; echo n >n/n").ok()
    session.runtime("kill", "w", "KILL")
    calls.until_stopped(session.runtime, "w")
    other = session.fork()
    session.runtime("delete", "w").ok()
    assert calls.state(session.runtime, "f")["status"] == "running"
    assert other.lines("s1") == ["~ a", "+ n/", "+ n/n"]
    assert other.span("s2", "cat a n/n; rm -r n").ok().stdout == "one\n1\nn\n"
    other.runtime("accept", "f")
    assert other.files()["a"] == "one\n1\n"


def test_fork_of_what_a_world_did_in_its_own_mount_has_all_names_of_a_file(
    any_runtime: Runtime,
) -> None:
    desk = Desk(any_runtime, "true")
    os.link(desk.project / "a", desk.project / "d/same")
    os.chown(desk.project / "d/same", any_runtime.uid, any_runtime.gid)
    any_runtime("delete", "w").ok()
    script = "cd /work; echo more >>a; chmod 700 src; ln d/b b2; rm d/c"
    bundle = host_view_bundle(any_runtime, substrate={"project": {"at": AT}})
    words = ("--keep", "--bundle", bundle, "--project", desk.project, "w")
    any_runtime("run", *words, "sh", "-c", script).ok()
    any_runtime("fork", "w", "f").ok()
    shown = [any_runtime("diff", "--json", world).ok().json() for world in ("w", "f")]
    assert shown[0] == shown[1]
    look = "cat a; cat d/same; ls d; stat -c %h b2"
    told = any_runtime("exec", "--cwd", AT, "f", "sh", "-c", look).ok().stdout
    same = "one\n" if any_runtime.is_rootless else "one\nmore\n"
    assert told == f"one\nmore\n{same}b\nsame\n2\n"


def test_fork_is_run_as_its_first_world_was(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES, bundle={"process": {"env": ["A=1", "PATH=/usr/bin"]}})
    session.fork()
    told = session.runtime("exec", "f", "sh", "-c", "echo $A; id -u; pwd").ok().stdout
    assert told == session.runtime("exec", "w", "sh", "-c", "echo $A; id -u; pwd").ok().stdout
    assert told.startswith("1\n")
    one, two = (calls.state(session.runtime, world) for world in ("w", "f"))
    assert one["bundle"] == two["bundle"]
    assert one["substrate"]["project"]["path"] == two["substrate"]["project"]["path"]
    assert one["substrate"]["project"]["layer"] != two["substrate"]["project"]["layer"]


def test_fork_needs_a_world_with_layers_and_an_id_that_is_free(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    assert session.runtime("fork", "w", "w").status == 1
    assert "already in use" in session.runtime("fork", "w", "w").stderr
    assert session.runtime("fork", "nowhere", "f").status == 1
    assert session.runtime("fork", "w", "a/b").status == 2
    assert session.runtime("fork", "--at", "s9", "w", "f").status == 1
    assert session.runtime("fork", "w").status == 2
    plain = session.runtime.bundle("sleep", "600")
    session.runtime("run", "--detach", "--bundle", plain, "plain").ok()
    refused = session.runtime("fork", "plain", "f")
    assert refused.status == 4
    assert "no layers" in refused.stderr
    told = session.runtime("fork", "--json", "--at", "s1", "w", "f").ok().json()
    assert told == {"world": "f", "origin": "w", "at": "s1", "layers": ["s1"]}
    assert session.runtime.worlds() == ["f", "plain", "w"]


@requires("strace")
def test_after_a_kill_at_any_step_a_fork_is_whole_or_gone(runtime: Runtime) -> None:
    session = Session(runtime, FILES)
    session.span("s1", "echo 1 >>a; mv d e").ok()
    session.span("s2", "echo 2 >>a; mkdir n; echo n >n/n").ok()
    whole = session.diff()
    words = ("fork", "w", "f")
    steps = injection.steps_of(runtime, runtime.folder / "trace", *words)
    runtime("delete", "--force", "f").ok()
    for step in dict.fromkeys([*steps[:: max(1, len(steps) // examples(12))], steps[-1]]):
        injection.traced(runtime, runtime.folder / "trace", step, *words)
        _let_settle(runtime)
        done = runtime("gc", "--json").ok().json()
        assert {entry["outcome"] for entry in done} <= {"removed"}, step
        if runtime.worlds() == ["w"]:
            assert not (runtime.home / "data/f").exists(), step
        else:
            assert session.named("f").diff() == whole, step
            # Killed before it could say that the fork runs, it runs all the same.
            assert calls.state(runtime, "f")["status"] in {"created", "running"}
            session.named("f").span("s3", "cat n/n").ok()
            runtime("delete", "--force", "f").ok()
        assert session.diff() == whole
        session.span(f"k{step}", "cat n/n").ok()


def _let_settle(runtime: Runtime) -> None:
    """Give an init that lost its runtime the time to notice, unless it is through its gate."""
    if not (runtime.home / "state/f/state.json").exists():
        return
    state = calls.state(runtime, "f")
    for _ in range(40):
        if state["status"] != "created" or not calls.is_running(state["pid"]):
            return
        time.sleep(0.02)


def test_point_before_an_accept_is_none_of_a_fork_made_after_it(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    session.span("s2", "echo 2 >>a").ok()
    session.runtime("accept", "w").ok()
    session.span("s3", "echo 3 >>a").ok()
    refused = session.runtime("fork", "--at", "s1", "w", "f")
    assert refused.status == 5
    assert "is accepted, and in the project" in refused.stderr
    other = session.fork(at="s3")
    again = other.fork("g")
    for world in (session, other, again):
        assert world.lines("s1") == ["~ a"]
        assert world.runtime("rollback", world.world, "s1").status == 5
        assert world.runtime("fork", "--at", "s1", world.world, "h").status == 5
    assert again.span("s4", "cat a").ok().stdout == "one\n1\n2\n3\n"
    # After the second span the project was as it is now.
    assert session.fork("h", at="s2").lines() == []
