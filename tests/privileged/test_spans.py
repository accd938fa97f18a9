"""Every span is a layer: what it changed, and only that, is under its id."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.attack import host_view_bundle
from tests.support.features import requires
from tests.support.spans import AT, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.world.stack import SpanLayer
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED)

FILES = {"a": "one\n", "d/b": "two\n", "d/c": "three\n"}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_span_has_its_own_diff_and_sees_what_the_spans_before_it_did(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo more >>a; echo x >new").ok()
    assert (
        session.span("s2", "cat a new; rm new; mv d e; chmod 600 a").ok().stdout == "one\nmore\nx\n"
    )
    assert session.span("s3", "ls; cat e/b; touch late").ok().stdout == "a\ne\ntwo\n"
    assert session.lines("s1") == ["~ a", "+ new"]
    assert session.lines("s2") == ["m a", "> d/ -> e/", "- new"]
    assert session.lines("s3") == ["+ late"]
    assert session.lines() == ["~ a", "> d/ -> e/", "+ late"]
    assert {session.record(span)["attribution"] for span in ("s1", "s2", "s3")} == {"own"}
    assert sorted(path.name for path in session.project.iterdir()) == ["a", "d"]
    assert (session.project / "a").read_text("utf-8") == "one\n"


def test_span_that_changes_nothing_leaves_no_layer(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo x >new").ok()
    for number in range(3):
        session.span(f"idle{number}", "cat new").ok()
    session.span("s2", "rm new").ok()
    assert [name.partition(".")[2] for name in session.layers()] == ["s1", "s2"]
    told = calls.state(any_runtime, "w")["substrate"]["layers"]
    assert [layer["span"] for layer in told] == ["s1", "s2"]
    assert session.lines("idle1") == []
    assert session.lines("s2") == ["- new"]
    assert session.lines() == []


def test_status_of_a_span_is_the_commands_own(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    assert session.span("s1", "echo x >new; exit 7").status == 7
    assert session.runtime("exec", "--span", "s2", "w", "nothing-of-that-name").status == 127
    assert session.record("s1")["status"] == 7
    assert session.record("s2")["status"] == 127
    assert session.lines("s2") == []


def test_an_id_is_a_spans_for_ever(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo x >new").ok()
    refused = session.span("s1", "rm a")
    assert refused.status == 1
    assert "there is a span s1 already" in refused.stderr
    assert session.lines() == ["+ new"]
    for bad in ("", "a/b", "..", "a.b", "x" * 65, "a b"):
        assert session.span(bad, "rm a").status == 2


def test_span_joins_the_layer_that_earlier_processes_still_write_to(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s0", "echo x >before").ok()
    server = "(while [ ! -e stop ]; do sleep 0.05; done; echo bye >stopped) >/dev/null 2>&1 &"
    session.span("s1", f"echo x >mine; {server}").ok()
    assert (
        session.span("s2", "cat mine; echo y >>mine; rm a before; touch stop").ok().stdout == "x\n"
    )
    assert session.record("s1")["attribution"] == "own"
    assert session.record("s2")["attribution"] == "shared"
    assert session.layers() == ["1.s0", "2.s1"]
    assert {"- a", "- before", "~ mine", "+ stop"} <= set(session.lines("s2"))
    until((session.data / "layers/2.s1/upper/stopped").exists)
    # The server is gone, so the next span has a layer again.
    session.span("s3", "rm stopped").ok()
    assert session.record("s3")["attribution"] == "own"
    assert session.lines("s3") == ["- stopped"]
    assert session.lines("s1") == ["+ mine"]


def test_spans_share_the_layer_of_a_world_whose_first_process_is_a_payload(
    any_runtime: Runtime,
) -> None:
    session = Session(any_runtime, FILES, idle=False)
    session.span("s1", "echo x >new; rm a").ok()
    session.span("s2", "echo y >>new; chmod 700 d; ln -s a link").ok()
    assert session.record("s1")["attribution"] == "shared"
    assert session.layers() == []
    assert session.lines("s1") == ["- a", "+ new"]
    assert session.lines("s2") == ["m d/", "+ link", "~ new"]
    assert session.lines() == ["- a", "m d/", "+ link", "+ new"]


def test_command_that_is_no_span_gets_a_layer_once_there_are_any(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.runtime("exec", "--cwd", AT, "w", "touch", "below").ok()
    assert session.layers() == []
    session.span("s1", "ls; echo x >new").ok()
    session.runtime("exec", "--cwd", AT, "w", "sh", "-c", "cat new; touch beside").ok()
    assert session.lines("s1") == ["+ new"]
    assert session.layers() == ["1.s1", "2.exec-2"]
    assert session.lines("exec-2") == ["+ beside"]
    assert session.lines() == ["+ below", "+ beside", "+ new"]


def test_diff_of_a_span_is_kept_when_its_layer_is_gone(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo x >new; mv a z").ok()
    told = session.diff("s1")
    session.runtime("kill", "w", "KILL")
    until(lambda: calls.state(session.runtime, "w")["status"] == "stopped")
    assert session.diff("s1") == told
    (session.data / "layers/1.s1").rename(session.data / "elsewhere")
    assert session.diff("s1") == told


def test_deep_stack_is_one_tree(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    for number in range(12):
        session.span(
            f"s{number}", f"echo {number} >>a; mkdir -p d/{number}; echo {number} >d/{number}/f"
        )
    assert (
        session.span("last", "cat a; cat d/*/f | wc -l; rm -r d/3").ok().stdout.split()[-1] == "12"
    )
    assert session.lines("s5") == ["~ a", "+ d/5/", "+ d/5/f"]
    assert session.lines("last") == ["- d/3/", "- d/3/f"]
    assert len(session.lines()) == 1 + 2 * 11


def test_spans_of_a_project_with_read_only_paths_are_refused(any_runtime: Runtime) -> None:
    bundle = {"linux": {"readonlyPaths": [f"{AT}/d"]}}
    session = Session(any_runtime, FILES, bundle=bundle)
    refused = session.span("s1", "mv d public")
    assert refused.status == 4
    assert "read-only" in refused.stderr


def test_spans_of_a_project_are_refused_where_a_masked_path_goes_through_a_link(
    runtime: Runtime,
) -> None:
    project = calls.public_directory(runtime, "other")
    (project / "real").mkdir()
    (project / "real/key").write_text("k\n", "utf-8")
    (project / "link").symlink_to("real")
    shown = {"substrate": {"project": {"at": AT}}, "linux": {"maskedPaths": [f"{AT}/link/key"]}}
    bundle = host_view_bundle(runtime, **shown)
    runtime("run", "--detach", "--idle", "--bundle", bundle, "--project", project, "w").ok()
    refused = runtime("exec", "--span", "s1", "w", "true")
    assert refused.status == 4
    assert "masked" in refused.stderr


def test_rollback_takes_the_project_back_to_where_it_was_after_a_span(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    session.runtime("snapshot", "w", "named").ok()
    session.span("s2", "echo 2 >>a; rm -r d").ok()
    session.span("s3", "mv a b").ok()
    assert session.runtime("rollback", "w", "s2").ok().stdout == "dropped s3\n"
    assert session.span("s4", "ls; cat a; touch a").ok().stdout == "a\none\n1\n2\n"
    assert session.runtime("rollback", "w", "named").ok().stdout == "dropped s4\ndropped s2\n"
    assert session.span("s5", "ls; cat a d/b").ok().stdout == "a\nd\none\n1\ntwo\n"
    assert session.lines() == ["~ a"]
    assert session.lines("s3") == ["> a -> b"]
    session.runtime("rollback", "--all", "w").ok()
    assert session.lines() == []
    assert session.span("s6", "cat a").ok().stdout == "one\n"
    assert session.runtime("rollback", "w", "nothing").status == 1


def test_rollback_is_refused_while_somebody_uses_the_layers(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    session.span(
        "s2", "echo 2 >>a; (while [ ! -e stop ]; do sleep 0.05; done) >/dev/null 2>&1 &"
    ).ok()
    refused = session.runtime("rollback", "w", "s1")
    assert refused.status == 1
    assert "still use its layers" in refused.stderr
    session.runtime("exec", "--cwd", AT, "w", "touch", "stop").ok()
    until(lambda: session.runtime("rollback", "w", "s1").status == 0)
    assert session.lines() == ["~ a"]


def test_snapshot_of_a_dropped_state_is_gone_with_it(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo 1 >>a").ok()
    session.span("s2", "echo 2 >>a").ok()
    session.runtime("snapshot", "w", "two").ok()
    assert session.runtime("snapshot", "w", "two").status == 1
    session.runtime("rollback", "w", "s1").ok()
    session.span("s3", "echo 3 >>a").ok()
    assert session.runtime("rollback", "w", "two").status == 1
    assert session.span("s4", "cat a").ok().stdout == "one\n1\n3\n"


def test_a_high_stack_is_made_lower_and_shows_the_same(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    uid, gid = session.runtime.uid, session.runtime.gid
    with session.stack() as stack:
        layers: list[SpanLayer] = []
        for number in range(1, 61):
            layers.append(stack.push(f"s{number}", layers))
            path = session.data / layers[-1].name / "upper" / f"n{number % 7}"
            path.write_text(f"{number}\n", encoding="utf-8")
    for path in (session.data / "layers").rglob("*"):
        os.chown(path, uid, gid)
    os.chown(session.data / "layers", uid, gid)
    assert len(session.lines()) == 7
    shown = session.span("last", "cat n*; mv n0 m; rm n1").ok().stdout
    assert shown == "".join(f"{number}\n" for number in (56, 57, 58, 59, 60, 54, 55))
    names = session.layers()
    assert (len(names), names[0], names[1]) == (32, "30.squash-1", "31.s31")
    assert session.lines("last") == ["> n0 -> m", "- n1"]
    assert session.runtime("rollback", "w", "--", "s7").status != 0
    session.runtime("rollback", "w", "last").ok()
    session.runtime("rollback", "--all", "w").ok()
    assert session.lines() == []


def test_what_one_span_changed_is_dropped_from_the_middle(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo two >>a; mkdir new; echo n >new/n").ok()
    session.span("s2", "rm d/b; echo late >late").ok()
    session.span("s3", "echo z >new/z; chmod 600 d/c").ok()
    refused = any_runtime("discard", "--span", "s1", "w")
    assert refused.status == 5
    assert "was changed by s3" in refused.stderr
    assert any_runtime("discard", "--span", "s2", "w", "a").status == 2
    before = session.lines()
    any_runtime("discard", "--dry-run", "--span", "s2", "w").ok()
    assert session.lines() == before
    assert any_runtime("discard", "--span", "s2", "w").ok().stdout == (
        "discarded 1 new, 1 deleted (+5 B, -4 B)\n"
    )
    assert session.lines() == ["~ a", "m d/c", "+ new/", "+ new/n", "+ new/z"]
    assert session.lines("s2") == ["- d/b", "+ late"]
    assert any_runtime("discard", "--span", "s2", "w").status == 1
    assert session.span("s4", "cat d/b; ls").ok().stdout == "two\na\nd\nnew\n"


def test_files_are_hashed_as_the_bundle_says(runtime: Runtime) -> None:
    big = "x" * 5000
    session = Session(runtime, FILES | {"big": big}, bundle=_diff_settings(smallFileLimit=4096))
    session.span("s1", "echo two >a; echo more >>big; rm d/b; mv d/c moved").ok()
    told = session.diff("s1")
    by_path = {entry["path"]: entry for entry in told["entries"]}
    assert by_path["a"]["hash"] == _sha256("two\n")
    assert by_path["a"]["hash_before"] == _sha256("one\n")
    assert by_path["d/b"]["hash_before"] == _sha256("two\n")
    assert by_path["moved"]["hash"] == _sha256("three\n")
    assert "hash" not in by_path["big"]
    # What was recorded at the span's end is what a fresh look at all layers says.
    assert session.diff()["tree_hash"] == told["tree_hash"]
    session.span("s2", "touch a; echo x >c").ok()
    assert session.diff()["tree_hash"] != told["tree_hash"]


def test_nothing_is_hashed_when_the_bundle_says_so(runtime: Runtime) -> None:
    session = Session(runtime, FILES, bundle=_diff_settings(hash="none"))
    session.span("s1", "echo two >a").ok()
    told = session.diff("s1")
    assert "tree_hash" not in told
    assert "hash" not in told["entries"][0]


def test_long_diff_is_cut_for_display_and_says_so(runtime: Runtime) -> None:
    session = Session(runtime, FILES, bundle=_diff_settings(maxEntries=3))
    session.span("s1", "for i in 1 2 3 4 5; do echo >n$i; done").ok()
    told = session.diff("s1")
    assert told["truncated"]
    assert told["writes"] == ["n1", "n2", "n3"]
    assert told["summary"]["files"] == 5
    assert session.lines("s1")[-1].startswith("… and 2 more: 5 new")
    everything = session.runtime("diff", "--json", "--limit", "0", "--span", "s1", "w").json()
    assert not everything["truncated"]
    assert len(everything["writes"]) == 5
    assert len(session.record("s1")["fs_diff"]["entries"]) == 5


def test_paths_that_match_no_change_are_told(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    session.span("s1", "echo two >a; echo x >d/new").ok()
    shown = session.runtime("diff", "--span", "s1", "w", "d", f"{AT}/a").ok().stdout
    assert shown == "~ a\n+ d/new\n"
    refused = session.runtime("diff", "--span", "s1", "w", "a", "nowhere")
    assert refused.status == 1
    assert "nothing was changed at nowhere" in refused.stderr


def test_patch_of_a_span_applied_to_the_project_gives_what_the_span_saw(
    any_runtime: Runtime,
) -> None:
    files = {"a": "1\n2\n3\n", "b": "no end", "gone": "x\n", "d/old": "1\n2\n3\n4\n"}
    session = Session(any_runtime, files)
    script = (
        "echo 4 >>a; printf more >>b; rm gone; mv d/old d/new; sed -i s/2/two/ d/new;"
        "printf 'x\\ny' >made; chmod 755 made; ln -s a link; printf '\\0' >binary; chmod 600 a"
    )
    session.span("s1", script).ok()
    patch = session.runtime("diff", "--patch", "--span", "s1", "w").ok().stdout
    assert session.runtime("diff", "--patch", "w").ok().stdout == patch
    assert "Binary files /dev/null and b/binary differ" in patch
    lines = patch.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if "b/binary" in line)
    text = "".join(lines[:start] + lines[start + 3 :])
    subprocess.run(
        ["git", "apply", "-"], input=text, text=True, cwd=session.project, check=True, timeout=20
    )
    seen = {
        path.name: path.read_text("utf-8") for path in session.project.rglob("*") if path.is_file()
    }
    assert seen == {
        "a": "1\n2\n3\n4\n", "b": "no endmore", "new": "1\ntwo\n3\n4\n", "made": "x\ny",
        "link": "1\n2\n3\n4\n",
    }  # fmt: skip


def _diff_settings(**settings: Any) -> dict[str, Any]:
    return {"substrate": {"diff": settings}}


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("executor", ["native", "python"])
def test_both_executors_give_a_span_its_layer(any_runtime: Runtime, executor: str) -> None:
    session = Session(any_runtime, FILES)
    words = ("exec", "--executor", executor, "--cwd", AT, "--span")
    session.runtime(*words, "s1", "w", "sh", "-c", "rm a; echo x >new").ok()
    session.runtime(*words, "s2", "w", "sh", "-c", "cat new; mv d e").ok()
    assert session.lines("s1") == ["- a", "+ new"]
    assert session.lines("s2") == ["> d/ -> e/"]


def test_detached_span_is_diffed_from_its_layer(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    words = (
        "exec",
        "--detach",
        "--span",
        "s1",
        "--cwd",
        AT,
        "w",
        "sh",
        "-c",
        "echo x >new; sleep 600",
    )
    session.runtime(*words).ok()
    until(lambda: session.lines("s1") == ["+ new"])


def test_kill_of_the_runtime_leaves_the_span_and_its_layer(any_runtime: Runtime) -> None:
    session = Session(any_runtime, FILES)
    script = "echo x >new; while [ ! -e stop ]; do sleep 0.05; done"
    words = ("exec", "--span", "s1", "--cwd", AT, "w", "sh", "-c", script)
    with calls.begin(session.runtime, *words) as process:
        until(lambda: session.layers() == ["1.s1"] and session.lines("s1") == ["+ new"])
        process.kill()
    session.span("s2", "touch stop").ok()
    assert session.record("s2")["attribution"] == "shared"
    assert {"+ new"} <= set(session.lines("s1"))
