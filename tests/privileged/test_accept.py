"""Accept, discard and undo, as a person calls them."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.desks import FILES, Desk
from tests.support.features import requires
from tests.support.spans import Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED)

CHANGES = "echo more >>a; rm d/c; mv d e; mkdir new; echo n >new/n; chmod 600 src/x.c"
ACCEPTED = {
    "a": "one\nmore\n", "e/b": "two\n", "new/n": "n\n", "src/x.c": "x\n", "src/y.h": "y\n",
}  # fmt: skip


def test_accept_makes_the_project_what_the_world_saw_and_undo_what_it_was(
    any_runtime: Runtime,
) -> None:
    desk = Desk(any_runtime, CHANGES)
    inode = (desk.project / "d/b").stat().st_ino
    assert desk.files() == FILES
    told = desk("accept").ok().stdout
    assert told.startswith("accepted ")
    assert "substrate-runtime undo w" in told
    assert desk.files() == ACCEPTED
    assert stat.S_IMODE((desk.project / "src/x.c").stat().st_mode) == 0o600
    owners = {path.stat().st_uid for path in desk.project.rglob("*")}
    assert owners == {any_runtime.uid}
    assert (desk.project / "e/b").stat().st_ino == inode or any_runtime.is_rootless
    assert desk.lines() == []
    assert "nothing to accept" in desk("accept").ok().stdout
    desk("undo").ok()
    assert desk.files() == FILES
    assert stat.S_IMODE((desk.project / "src/x.c").stat().st_mode) == 0o644
    assert "no accept of w to undo" in desk("undo").stderr
    assert desk("undo").status == 1


def test_a_dry_run_shows_what_would_be_and_changes_nothing(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, CHANGES)
    before = desk.lines()
    shown = desk("accept", "--dry-run").ok().stdout.splitlines()
    assert shown[:-1] == before
    assert shown[-1].startswith("would accept ")
    assert desk("discard", "--dry-run").ok().stdout.splitlines()[:-1] == before
    assert desk.files() == FILES
    assert desk.lines() == before


def test_part_of_the_changes_is_accepted_and_the_rest_is_still_there(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, CHANGES + "; echo z >new/z; echo w >src/w.c; echo h >src/h.h")
    desk("accept", "new/n", "src/**/*.c").ok()
    assert desk.files() == FILES | {"new/n": "n\n", "src/w.c": "w\n"}
    assert "+ new/z" in desk.lines()
    assert "+ src/h.h" in desk.lines()
    assert not {"+ new/", "+ new/n", "+ src/w.c"} & set(desk.lines())
    desk("accept", "/work/e").ok()
    assert set(desk.files()) >= {"e/b"}
    assert "d/b" not in desk.files()
    rest = desk.lines()
    assert "~ a" in rest
    assert {"- d/c", "- e/c"} & set(rest)
    desk("accept").ok()
    assert desk.files() == ACCEPTED | {"new/z": "z\n", "src/w.c": "w\n", "src/h.h": "h\n"}
    for number in (3, 2, 1):
        assert f"undid accept {number}," in desk("undo").ok().stdout
    assert desk.files() == FILES


def test_rename_that_was_accepted_and_undone_can_be_accepted_again(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, "mv a moved; echo n >new")
    before = desk.lines()
    desk("accept", "moved").ok()
    assert desk.files() == {**{k: v for k, v in FILES.items() if k != "a"}, "moved": FILES["a"]}
    desk("undo").ok()
    assert desk.files() == FILES
    assert desk.lines() == before
    desk("accept").ok()
    assert desk.files()["moved"] == FILES["a"]


def test_what_is_not_there_to_accept_is_a_usage_error(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, CHANGES)
    for words in (("nothing",), ("*.py",), ("../a",), ("--theirs", "--ours")):
        assert desk("accept", *words).status == 2
    assert desk("undo", "--accept", "7").status == 1
    assert desk.files() == FILES


def test_a_host_edit_of_the_same_file_is_a_conflict_and_nothing_is_applied(
    any_runtime: Runtime,
) -> None:
    desk = Desk(any_runtime, CHANGES)
    (desk.project / "a").write_text("a person\n", "utf-8")
    before = desk.files()
    refused = desk("accept")
    assert refused.status == 6
    assert "a: changed on the host" in refused.stderr
    assert "nothing was accepted" in refused.stderr
    assert desk.files() == before
    told = desk.json("accept")
    assert told["applied"] is False
    assert told["conflicts"] == [{"path": "a", "reason": "changed on the host"}]
    desk("accept", "new", "e").ok()
    assert desk.files()["a"] == "a person\n"


def test_theirs_takes_the_worlds_version_and_undo_brings_the_hosts_back(
    any_runtime: Runtime,
) -> None:
    desk = Desk(any_runtime, CHANGES)
    (desk.project / "a").write_text("a person\n", "utf-8")
    assert "the world's version wins" in desk("accept", "--theirs").ok().stderr
    assert desk.files() == ACCEPTED
    desk("undo").ok()
    assert desk.files() == FILES | {"a": "a person\n"}
    # It is the host's again, and not what an undo has left: nobody has agreed to lose it.
    refused = desk("accept")
    assert refused.status == 6
    assert "a: changed on the host" in refused.stderr
    assert desk.files() == FILES | {"a": "a person\n"}


def test_an_edit_that_gave_way_to_a_second_accept_is_a_conflict_of_the_first_one_s_undo(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo more >>a").ok()
    any_runtime("accept", "w").ok()
    session.span("s2", "echo again >>a").ok()
    time.sleep(0.05)
    (session.project / "a").write_text("a person\n", "utf-8")
    any_runtime("accept", "--theirs", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "one\nmore\nagain\n"
    any_runtime("undo", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "a person\n"
    refused = any_runtime("undo", "w")
    assert refused.status == 6
    assert "a: changed on the host" in refused.stderr
    assert (session.project / "a").read_text("utf-8") == "a person\n"


def test_ours_keeps_the_hosts_version_and_takes_the_rest(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, CHANGES)
    (desk.project / "a").write_text("a person\n", "utf-8")
    (desk.project / "d/c").write_text("kept\n", "utf-8")
    assert "the host's stays" in desk("accept", "--ours").ok().stderr
    assert desk.files() == ACCEPTED | {"a": "a person\n", "e/c": "kept\n"} or (
        desk.files() == ACCEPTED | {"a": "a person\n", "d/c": "kept\n"}
    )


def test_the_same_change_on_both_sides_is_no_conflict(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, "echo same >a; echo more >>d/b")
    (desk.project / "a").write_text("same\n", "utf-8")
    desk("accept").ok()
    assert desk.files() == FILES | {"a": "same\n", "d/b": "two\nmore\n"}


def test_an_edit_after_an_accept_is_a_conflict_of_undo(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, CHANGES)
    desk("accept").ok()
    (desk.project / "new/later").write_text("a person\n", "utf-8")
    (desk.project / "a").write_text("a person\n", "utf-8")
    before = desk.files()
    refused = desk("undo")
    assert refused.status == 6
    assert "a: changed on the host" in refused.stderr
    assert "new: changed on the host" in refused.stderr
    assert desk.files() == before
    told = desk.json("undo", "--dry-run")
    assert {conflict["path"] for conflict in told["conflicts"]} == {"a", "new"}


@pytest.mark.parametrize(
    ("script", "path", "reason"),
    [
        ("mkdir -p .git/hooks; echo x >.git/hooks/pre-commit", ".git/hooks/pre-commit", "git-hook"),
        ("mkdir -p .github/workflows; echo x >.github/workflows/x.yml", ".github/workflows/x.yml",
         "ci-configuration"),
        ("ln -s /etc/passwd way-out", "way-out", "symlink-leaves-project"),
        ("cp /bin/true t; chmod u+s t", "t", "setuid"),
        ("echo x >.envrc", ".envrc", "editor-or-tool-runs-it"),
    ],
)  # fmt: skip
def test_risky_changes_need_an_explicit_yes(
    runtime: Runtime, script: str, path: str, reason: str
) -> None:
    desk = Desk(runtime, f"echo more >>a; {script}")
    refused = desk("accept")
    assert refused.status == 5
    assert f"{path}: " in refused.stderr
    assert reason in refused.stderr
    assert desk.files() == FILES
    told = desk.json("accept")
    assert path in {risky["path"] for risky in told["risky"]}
    assert told["applied"] is False
    desk("accept", "a").ok()
    assert desk("accept", "--risky", "src").status == 5
    desk("accept", "--risky", path.partition("/")[0]).ok()
    assert os.path.lexists(desk.project / path)


def test_what_is_risky_at_its_new_place_is_found_in_a_directory_that_moved(
    runtime: Runtime,
) -> None:
    desk = Desk(runtime, "mkdir -p t/workflows; echo x >t/workflows/x.yml")
    desk("accept").ok()
    runtime("delete", "w").ok()
    again = Desk(runtime, "mv t .github", project=desk.project)
    refused = again("accept")
    assert refused.status == 5
    assert ".github: ci-configuration" in refused.stderr


def test_discard_forgets_everything_or_a_part(any_runtime: Runtime) -> None:
    script = "echo more >>a; rm d/c; mkdir new; echo n >new/n; echo z >new/z; chmod 600 src/x.c"
    desk = Desk(any_runtime, script + "; rm src/y.h")
    desk("discard", "a", "new/z", "src/y.h").ok()
    assert desk.lines() == ["- d/c", "+ new/", "+ new/n", "m src/x.c"]
    desk("accept").ok()
    assert desk.files() == {"a": "one\n", "d/b": "two\n", "new/n": "n\n", "src/x.c": "x\n",
                            "src/y.h": "y\n"}  # fmt: skip
    any_runtime("delete", "w").ok()
    desk = Desk(any_runtime, CHANGES, project=desk.project)
    before = desk.files()
    assert desk("discard").ok().stdout.startswith("discarded ")
    assert desk.lines() == []
    assert desk.files() == before
    assert "nothing to discard" in desk("discard").ok().stdout


def test_a_part_is_discarded_of_what_several_spans_have_changed(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo more >>a; mkdir new; echo n >new/n; rm d/c").ok()
    session.span("s2", "echo again >>a; echo z >new/z; rm src/x.c; chmod 600 d/b").ok()
    before, layers = session.lines(), session.layers()
    shown = any_runtime("discard", "--dry-run", "w", "a", "new/z", "d").ok().stdout.splitlines()
    assert shown[:-1] == ["~ a", "m d/b", "- d/c", "+ new/z"]
    assert (session.lines(), session.layers()) == (before, layers)
    any_runtime("discard", "w", "a", "new/z", "d").ok()
    assert session.lines() == ["+ new/", "+ new/n", "- src/x.c"]
    assert session.span("s3", "cat a d/c; ls new src; echo 3 >>a").ok().stdout == (
        "one\nthree\nnew:\nn\n\nsrc:\ny.h\n"
    )
    assert session.lines("s2") == ["~ a", "m d/b", "+ new/z", "- src/x.c"]
    any_runtime("accept", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "one\n3\n"


def test_a_part_that_others_were_made_from_is_not_discarded_alone(runtime: Runtime) -> None:
    desk = Desk(runtime, "mv a b; echo other >a; mv d e")
    before = desk.lines()
    refused = desk("discard", "a")
    assert refused.status == 5
    assert "b was made from it" in refused.stderr
    assert desk.lines() == before
    desk("discard", "d").ok()
    assert desk.lines() == [line for line in before if "d/" not in line]


def test_a_world_that_runs_keeps_its_layer_and_what_is_accepted_compares_equal(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES, idle=False)
    run = any_runtime
    script = "cd /work; echo more >>a; mkdir new; echo n >new/n; rm d/c"
    run("exec", "w", "sh", "-c", script).ok()
    assert run("discard", "w").status == 1
    assert "still runs" in run("discard", "w").stderr
    run("accept", "w").ok()
    assert run("diff", "w").ok().stdout == ""
    assert (session.project / "new/n").read_text("utf-8") == "n\n"
    run("exec", "w", "sh", "-c", "cd /work; cat a new/n; echo again >>a; rm new/n").ok()
    time.sleep(0.02)
    assert run("diff", "w").ok().stdout.splitlines() == ["~ a", "- new/n"]
    run("accept", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "one\nmore\nagain\n"
    assert not (session.project / "new/n").exists()
    run("undo", "w").ok()
    run("undo", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "one\n"
    assert sorted(path.name for path in session.project.iterdir()) == ["a", "d", "src"]


def test_a_session_of_spans_is_accepted_as_one_and_goes_on(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo more >>a; mkdir new; echo n >new/n; mv d e").ok()
    session.span("s2", "echo n2 >>new/n; rm e/c; rm src/x.c").ok()
    lines = session.lines()
    any_runtime("accept", "w").ok()
    assert lines
    assert session.lines() == []
    assert session.layers() == []
    assert (session.project / "new/n").read_text("utf-8") == "n\nn2\n"
    assert sorted(path.name for path in (session.project / "e").iterdir()) == ["b"]
    session.span("s3", "cat new/n a; echo third >>new/n").ok()
    assert session.lines() == ["~ new/n"]
    any_runtime("accept", "w").ok()
    any_runtime("undo", "w").ok()
    assert session.lines() == ["~ new/n"]
    any_runtime("undo", "w").ok()
    assert (session.project / "d/c").read_text("utf-8") == "three\n"
    assert not (session.project / "new").exists()
    # Nothing is lost: the work of all spans is in the world again, and goes on from there.
    assert session.layers() == ["1.s1", "2.s2", "3.s3"]
    assert set(lines) <= set(session.lines())
    session.span("s4", "cat new/n; test ! -e d -a ! -e src/x.c; ls e").ok()
    any_runtime("accept", "w").ok()
    assert (session.project / "new/n").read_text("utf-8") == "n\nn2\nthird\n"


def test_only_what_the_host_changed_after_the_span_began_is_a_conflict(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo more >>d/b").ok()
    (session.project / "a").write_text("a person\n", "utf-8")
    time.sleep(0.05)
    session.span("s2", "echo more >>a; cp src/x.c t; mv t src/x.c").ok()
    any_runtime("accept", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "a person\nmore\n"


def test_what_the_host_changed_before_layers_were_joined_is_still_a_conflict(
    runtime: Runtime,
) -> None:
    session = Session(runtime, FILES)
    session.span("s1", "rm a; chmod 700 d; echo more >>d/b; mv src/x.c src/y.c").ok()
    session.span("s2", "chmod 600 d/b; chmod 600 d/c").ok()
    time.sleep(0.05)
    for name in ("a", "d/b", "d/c", "src/x.c"):
        (session.project / name).write_text("a person\n", "utf-8")
    (session.project / "d").chmod(0o750)
    time.sleep(0.05)
    expected = session.runtime("accept", "--json", "w").json()["conflicts"]
    for later in ("s3", "s4"):  # what was joined is joined again with what came later
        with session.stack() as stack:
            stack.squash(stack.layers())
        found = session.runtime("accept", "--json", "w").json()["conflicts"]
        assert found == expected
        session.span(later, f"echo x >{later}").ok()
    assert {conflict["path"] for conflict in found} >= {"a", "d", "d/b", "d/c"}


def test_what_the_host_changed_before_the_world_did_is_no_conflict_after_joining(
    runtime: Runtime,
) -> None:
    session = Session(runtime, FILES)
    session.span("s1", "echo x >new").ok()
    (session.project / "a").write_text("a person\n", "utf-8")
    time.sleep(0.05)
    session.span("s2", "echo more >>a").ok()
    session.span("s3", "chmod 600 a").ok()
    with session.stack() as stack:
        stack.squash(stack.layers())
    runtime("accept", "w").ok()
    assert (session.project / "a").read_text("utf-8") == "a person\nmore\n"


def test_names_that_only_a_payload_would_choose_arrive_as_they_are(runtime: Runtime) -> None:
    script = (
        'python3 -c "import os\n'
        "for n in (b'new\\nline', b'\\xff\\xfe', b'.wh.x', b'x' * 255, b'-rf',"
        " b'a b', b'\\x1b[2J'):\n"
        "    open(n, 'w').write('1')\n\""
    )
    desk = Desk(runtime, script)
    desk("accept").ok()
    names = set(os.listdir(os.fsencode(desk.project)))
    assert names >= {b"new\nline", b"\xff\xfe", b".wh.x", b"x" * 255, b"-rf", b"a b", b"\x1b[2J"}
    desk("undo").ok()
    assert desk.files() == FILES


def test_an_accept_that_is_killed_is_taken_back_by_whatever_comes_next(
    runtime: Runtime,
) -> None:
    for number, verb in enumerate(("diff", "accept", "undo", "delete")):
        desk = Desk(runtime, CHANGES, runtime.folder / f"killed{number}")
        kill_at_the_end(runtime, "accept", "w")
        assert desk.files() != FILES
        done = desk(verb)
        if verb == "accept":
            assert desk.files() == ACCEPTED
            assert "was taken back" in done.stderr
        else:
            assert desk.files() == FILES
        runtime("delete", "--force", "w")


def kill_at_the_end(runtime: Runtime, *words: str) -> None:
    """Call the runtime and kill it when it looks a last time at what it has exchanged."""
    argv, environment = calls.bare(runtime)
    inject = "inject=syncfs:signal=SIGKILL:when=2"
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=syncfs", "-e", inject, *argv, *words],
        env=environment, cwd=runtime.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
