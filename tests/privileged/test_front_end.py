"""`substrate` on the command line: one command, a script, a stream, a result; and what it says."""

from __future__ import annotations

import json
import os
import pty
import pwd
import shlex
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from substrate.api import spanning
from substrate.api.records import ExecRequest
from substrate.cli.front.executing import complete
from substrate.errors import SubstrateError, TraceWriteError
from substrate.trace.writer import TraceWriter
from tests.support.features import TEST_USER, requires
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires(*NEEDED)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place({"a.txt": "a\n"}) as made:
        (made.project / "sub").mkdir()
        yield made


@pytest.mark.parametrize(
    ("command", "status"),
    [("true", 0), ("exit 3", 3), ("nosuchprogram", 127), ("/etc", 126), ("kill -TERM $$", 143),
     ("if", 2), ("kill -KILL $$", 137)],
)  # fmt: skip
def test_the_status_is_the_command_s_own(place: Place, command: str, status: int) -> None:
    assert place.call("-c", command).returncode == status


def test_words_behind_a_command_are_its_parameters(place: Place) -> None:
    assert place.call("-c", 'echo "$0|$1|$2"', "zero", "a b", "*").stdout == "zero|a b|*\n"


def test_a_command_starts_where_its_caller_is(place: Place) -> None:
    (place.project / ".git").mkdir()
    shown = place.call("-c", "pwd; ls ..", cwd=place.project / "sub")
    assert shown.stdout == f"{place.project}/sub\na.txt\nsub\n"


def test_a_script_runs_by_name_wherever_it_lies(place: Place) -> None:
    script = place.home / "script"
    script.write_text('echo "<$1>"; read x; echo "$x"; exit 4\n', encoding="utf-8")
    done = place.call(str(script), "one", stdin="typed\n")
    assert (done.stdout, done.returncode) == ("<one>\ntyped\n", 4)
    assert place.call("./nosuch").returncode == 127


def test_a_script_as_standard_input_shares_it_with_its_commands(place: Place) -> None:
    done = place.call(stdin="read x\nfor bash\necho got $x\n(exit 5)\n")
    assert (done.stdout, done.returncode) == ("got for bash\n", 5)


def test_streams_are_the_caller_s_own(place: Place) -> None:
    done = place.call("run", "--", "sh", "-c", "cat; echo err >&2", stdin="in\n" * 50_000)
    assert done.stdout == "in\n" * 50_000
    assert done.stderr == "err\n"


def test_one_result_as_json(place: Place) -> None:
    done = place.call("run", "--json", "--", "sh", "-c", "cat > b.txt; echo out; exit 3", stdin="x")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["exit"] == 3
    assert result["stdout"]["text"] == "out\n"
    assert result["fs_diff"]["writes"] == ["b.txt"]
    assert result["resources"]["cpu_ms"] >= 0
    assert json.loads(place.call("--json", "-c", "true").stdout)["exit"] == 0


def test_what_a_session_changed_is_seen_later_and_ends_with_it(place: Place) -> None:
    place.call("-c", "echo new > new.txt; rm a.txt")
    assert place.call("diff").stdout == "- a.txt\n+ new.txt\n"
    assert (place.project / "a.txt").exists()
    refused = place.call("end")
    assert refused.returncode == 5
    assert "1 new, 1 deleted" in refused.stderr
    assert place.call("end", "--force").returncode == 0
    assert "has no world" in place.call("diff").stderr
    assert place.call("-c", "ls").stdout == "a.txt\nsub\n"


def test_changes_become_the_project_s_and_are_taken_back(place: Place) -> None:
    place.call("-c", "echo new > new.txt; echo b >> a.txt")
    shown = place.call("accept", "--dry-run").stdout
    assert "+ new.txt" in shown
    assert not (place.project / "new.txt").exists()
    assert place.call("accept").stdout.endswith("\nsubstrate undo takes it back\n")
    assert (place.project / "new.txt").read_text("utf-8") == "new\n"
    assert (place.project / "a.txt").read_text("utf-8") == "a\nb\n"
    assert place.call("diff").stdout == ""
    # The session goes on, on what is accepted by now.
    assert place.call("-c", "cat new.txt; echo c >> a.txt").stdout == "new\n"
    assert place.call("undo").returncode == 0
    assert (place.project / "a.txt").read_text("utf-8") == "a\n"
    assert not (place.project / "new.txt").exists()
    # What the agent has done is still there, with what it did afterwards.
    assert place.call("diff").stdout == "~ a.txt\n+ new.txt\n"
    assert place.call("-c", "cat new.txt a.txt").stdout == "new\na\nb\nc\n"
    nothing = place.call("undo")
    assert nothing.returncode == 1
    assert nothing.stderr.endswith("\nhint: substrate diff\n")
    rows = [json.loads(row) for row in place.call("trace", "export").stdout.splitlines()]
    kinds = [(row["action"], row["outcome"]) for row in rows if row["event_type"] == "accept"]
    assert kinds == [("accept", "done"), ("undo", "done"), ("undo", "refused")]
    assert place.call("trace", "verify", "--spans").returncode == 0


def test_a_human_s_edit_is_not_overwritten(place: Place) -> None:
    place.call("-c", "echo world >> a.txt")
    (place.project / "a.txt").write_text("human\n", encoding="utf-8")
    refused = place.call("accept")
    assert refused.returncode == 6
    assert (place.project / "a.txt").read_text("utf-8") == "human\n"
    exported = place.call("trace", "export").stdout.splitlines()
    assert json.loads(exported[-1])["outcome"] == "refused"


def test_the_time_of_a_command_has_an_end(place: Place) -> None:
    assert place.call("--timeout", "0.3", "-c", "sleep 60").returncode == 124
    assert place.call("--timeout", "30", "-c", "exit 2").returncode == 2


def test_a_denied_command_ends_in_126_with_one_line(place: Place) -> None:
    place.write_policy('cmd_denied: ["rm -rf *"]\n')
    done = place.call("-c", "echo ran; cd x && sudo rm -rf y")
    assert (done.returncode, done.stdout) == (126, "")
    assert done.stderr.count("\n") == 1
    assert "cmd_denied:rm -rf *" in done.stderr
    assert "policy.yaml:1" in done.stderr
    assert place.call("why", "rm -rf y").returncode == 126
    place.write_policy('mode: observe\ncmd_denied: ["rm -rf *"]\n')
    observed = place.call("-c", "echo ran; rm -rf y")
    assert (observed.returncode, observed.stdout) == (0, "ran\n")
    assert "would be denied by" in observed.stderr


def test_without_a_world_only_when_it_is_said_and_then_judged_too(place: Place) -> None:
    done = place.call("--no-world", "-c", "echo x > onhost; exit 4")
    assert done.returncode == 4
    assert (place.project / "onhost").exists()
    assert "nothing is kept apart" in done.stderr
    place.write_policy("cmd_isolated: [make]\n")
    assert place.call("--no-world", "run", "--", "make").returncode == 126
    # Nobody knows what bash will read.
    assert place.call("--no-world", stdin="true\n").returncode == 126
    rows = [json.loads(row) for row in place.call("log", "--all", "--json").stdout.splitlines()]
    assert rows[0]["execution_origin"] == "host"


def test_every_command_is_on_record(place: Place) -> None:
    place.call("-c", "echo hi > hi.txt")
    place.call("run", "--", "false")
    rows = [json.loads(row) for row in place.call("log", "--json").stdout.splitlines()]
    assert [(row.get("cmd"), row["exit"]) for row in rows] == [("echo hi > hi.txt", 0), (None, 1)]
    shown = place.call("--trace", rows[0]["span_id"])
    assert "command_complete" in shown.stdout
    assert "hi.txt" in shown.stdout
    unknown = place.call("--trace", "00f067aa0ba902b7")
    assert unknown.returncode == 1
    assert "no record has the span" in unknown.stderr
    assert place.call("trace", "verify", "--spans").returncode == 0
    exported = place.call("trace", "export", "--format", "otlp", "--span", rows[0]["span_id"])
    assert json.loads(exported.stdout.splitlines()[0])["resourceSpans"]


def test_the_caller_s_trace_is_continued(place: Place) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    done = place.call("-c", "echo $TRACEPARENT", env={"TRACEPARENT": parent})
    _, trace_id, span_id, _ = done.stdout.strip().split("-")
    assert trace_id == "0af7651916cd43dd8448eb211c80319c"
    (row,) = (json.loads(row) for row in place.call("log", "--json").stdout.splitlines())
    assert (row["session_id"], row["span_id"]) == (trace_id, span_id)
    assert row["parent_span"] == "b7ad6b7169203331"
    assert "TRACEPARENT is not used" in place.call("-c", ":", env={"TRACEPARENT": "x"}).stderr


def test_what_cannot_be_announced_on_record_does_not_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.session() as world:

        def fail(_self: TraceWriter, _event: object) -> str:
            message = "no space left on device"
            raise TraceWriteError(message)

        monkeypatch.setattr(TraceWriter, "append", fail)
        with pytest.raises(TraceWriteError):
            world.exec(ExecRequest(command="touch ran"))
        monkeypatch.undo()
        assert world.changes().empty
        assert world.exec(ExecRequest(command="touch ran")).exit == 0


def test_a_broken_way_to_the_changes_does_not_break_the_command(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        message = "the layer cannot be read"
        raise SubstrateError(message)

    with place.session() as world:
        monkeypatch.setattr(spanning, "leave", fail)
        result = world.exec(ExecRequest(command="echo x > new.txt; exit 3"))
        monkeypatch.undo()
        assert result.exit == 3
        assert result.fs_diff is None
        assert "the layer cannot be read" in result.telemetry[0]
        # Only now it is asked for.
        asked = complete(world, result)
        assert asked.fs_diff is not None
        assert asked.fs_diff.writes == ("new.txt",)
        assert complete(world, asked) is asked


def test_the_line_after_a_command_is_for_terminals_only(place: Place) -> None:
    assert place.call("-c", "echo x > one.txt").stderr == ""
    shown = _on_terminal(place, "-c", "echo x > two.txt; tty; stty size")
    assert "1 new" in shown
    assert "/dev/pts/" in shown
    assert "1 new" not in _on_terminal(place, "--quiet", "-c", "echo x > three.txt")
    assert "·" not in _on_terminal(place, "-c", "true")


def test_output_that_nobody_reads_ends_the_command(place: Place) -> None:
    argv = shlex.join([*place.argv, "-c", "yes"])
    done = subprocess.run(
        ["bash", "-c", f"{argv} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=60, cwd=place.project,
        env=place.whole_environment, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "y"
    assert done.stdout.splitlines()[1] in ("141", "1")


def test_two_first_commands_share_one_world(place: Place) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append(place.call("-c", "sleep 0.2; echo done")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.stdout for one in done] == ["done\n"] * 3
    assert len(json.loads(place.call("worlds", "--json").stdout)) == 1


@requires("rootless_user", "userns.unprivileged", "overlayfs.userxattr")
def test_an_ordinary_user_has_sessions_too(place: Place) -> None:
    place.give_away()

    uid = pwd.getpwnam(TEST_USER).pw_uid
    assert place.call_as_user("-c", "id -u; kill 1; echo new > new.txt; rm a.txt") == f"{uid}\n"
    assert place.call_as_user("diff") == "- a.txt\n+ new.txt\n"
    assert place.call_as_user("-c", "cat new.txt; ls") == "new\nnew.txt\nsub\n"
    assert "unbroken" in place.call_as_user("trace", "verify", "--spans")
    place.call_as_user("end", "--force")


def _on_terminal(place: Place, *words: str) -> str:
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [*place.argv, *words], stdin=slave, stdout=slave, stderr=slave, cwd=place.project,
            env=place.whole_environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        shown = b""
        while True:
            try:
                shown += os.read(master, 4096)
            except OSError:
                break
        assert process.wait(30) == 0
    finally:
        os.close(master)
    return shown.decode()


@pytest.mark.parametrize(
    "broken", ["rm -r {}", "mv {} {}.gone && touch {}", "mv {} {}.gone && ln -s /nowhere {}"]
)
def test_a_trace_that_breaks_in_the_middle_is_told_and_the_command_is_whole(
    place: Place, broken: str
) -> None:
    place.call("-c", "true")
    trace = place.home / "data/@trace"
    child = subprocess.Popen(
        [*place.argv, "-c", "touch began; read -r word; echo $word; exit 7"], cwd=place.project,
        env=place.whole_environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while place.call("diff").stdout != "+ began\n":
        assert time.monotonic() < deadline
    subprocess.run(["sh", "-c", broken.replace("{}", str(trace))], check=True)
    out, err = child.communicate("word\n", timeout=30)
    assert (out, child.returncode) == ("word\n", 7)
    if "rm" in broken:
        assert "the end of the command is not on record" in err
    # What cannot be announced does not run.
    again = place.call("-c", "touch again")
    if "rm" in broken:
        assert again.returncode == 0
    else:
        assert again.returncode in (5, 125)
        assert "record already" not in again.stderr
        assert str(trace) in again.stderr
        assert place.call("diff").stdout == "+ began\n"
        trace.unlink()
        (trace.parent / "@trace.gone").rename(trace)
        assert place.call("trace", "verify").returncode == 0


def test_the_end_of_a_command_whose_shell_was_killed_is_told_to_be_lost(place: Place) -> None:
    child = subprocess.Popen(
        [*place.argv, "-c", "touch began; sleep 1; touch ended"], cwd=place.project,
        env=place.whole_environment,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while place.call("log").stdout.count("running") != 1 or not place.call("diff").stdout:
        assert time.monotonic() < deadline
    child.kill()
    child.wait()
    # The command is not ours to end, and all it does is kept.
    while place.call("diff").stdout != "+ began\n+ ended\n":
        assert time.monotonic() < deadline
    while "lost" not in place.call("log").stdout:
        assert time.monotonic() < deadline
    assert place.call("-c", "ls").stdout == "a.txt\nbegan\nended\nsub\n"
