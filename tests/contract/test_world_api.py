"""One suite over both sides of the world API: in this process, and behind an agent's socket."""

from __future__ import annotations

import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.api.records import ExecRequest, WorldSpec
from substrate.errors import SubstrateError, UsageError
from substrate.trace.ids import new_span_id
from tests.support.features import requires
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.api.protocol import World

pytestmark = requires(*NEEDED)


@pytest.fixture(scope="module", params=["inprocess", "agent"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with new_place({"old.txt": "old\n"}) as made:
        made.write_policy('cmd_denied: ["rm -rf *"]\n')
        yield made


@pytest.fixture(scope="module")
def world(kind: str, place: Place) -> Iterator[World]:
    with place.by(kind) as made:
        yield made


def test_output_status_and_changes_come_back(world: World) -> None:
    result = world.exec(ExecRequest(command="echo out; echo err >&2; echo x > new; exit 3"))
    assert result.exit == 3
    assert result.stdout is not None
    assert result.stderr is not None
    assert (result.stdout.text, result.stderr.text) == ("out\n", "err\n")
    assert result.fs_diff is not None
    assert result.fs_diff.writes == ("new",)
    assert world.fs_diff(result.span_id).writes == ("new",)
    assert result.telemetry == ()


def test_argv_is_exact(world: World) -> None:
    words = ("printf", "%s|", "a b", "$HOME", "*", "'")
    result = world.exec(ExecRequest(argv=words))
    assert result.stdout is not None
    assert result.stdout.text == "a b|$HOME|*|'|"


def test_files_persist_between_commands_and_the_shell_does_not(world: World) -> None:
    world.exec(ExecRequest(command="mkdir -p sub; cd sub; X=1; echo kept > file"))
    result = world.exec(ExecRequest(command="pwd; echo =$X; cat sub/file"))
    assert result.stdout is not None
    lines = result.stdout.text.splitlines()
    assert lines[1:] == ["=", "kept"]
    inside = world.exec(ExecRequest(command="cat file", cwd=f"{lines[0]}/sub"))
    assert inside.stdout is not None
    assert inside.stdout.text == "kept\n"


def test_the_project_itself_is_not_touched(world: World, place: Place) -> None:
    result = world.exec(ExecRequest(command="echo changed > old.txt; cat old.txt"))
    assert result.fs_diff is not None
    assert result.fs_diff.mods == ("old.txt",)
    assert (place.project / "old.txt").read_text("utf-8") == "old\n"


def test_input_and_variables_are_passed_on(world: World) -> None:
    request = ExecRequest(
        command='cat; printf %s "$GREETING"', stdin="given\n", env=(("GREETING", "hej\n$x"),)
    )
    result = world.exec(request)
    assert result.stdout is not None
    assert result.stdout.text == "given\nhej\n$x"


def test_bytes_that_are_no_text_come_back_as_they_were(world: World) -> None:
    result = world.exec(ExecRequest(command=r"printf 'a\377\n'"))
    assert result.stdout is not None
    assert result.stdout.text.encode("utf-8", "surrogateescape") == b"a\xff\n"


def test_long_output_is_cut_and_its_digest_is_of_all(world: World) -> None:
    result = world.exec(ExecRequest(command="yes | head -c 100000", output_bytes=10))
    assert result.stdout is not None
    assert result.stdout.text == "y\n" * 5
    assert result.stdout.truncated
    assert result.stdout.size == 100_000
    assert result.stdout.sha256 == sha256(b"y\n" * 50_000).hexdigest()
    assert result.stdout.file is not None
    assert Path(result.stdout.file).stat().st_size == 100_000


def test_output_is_streamed_as_it_comes(world: World) -> None:
    came: list[tuple[str, bytes]] = []
    world.exec(ExecRequest(command=r"printf 'a\377'; echo e >&2"), lambda *row: came.append(row))
    assert b"".join(data for name, data in came if name == "stdout") == b"a\xff"
    assert b"".join(data for name, data in came if name == "stderr") == b"e\n"


def test_a_terminal_is_one_if_asked_for(world: World) -> None:
    result = world.exec(ExecRequest(command="test -t 0 && test -t 1 && tty", pty=True))
    assert result.exit == 0
    assert result.stdout is not None
    assert result.stdout.text.startswith("/dev/pts/")
    assert world.exec(ExecRequest(command="test -t 1")).exit == 1


def test_the_end_of_the_time_is_the_end_of_the_command(world: World) -> None:
    result = world.exec(ExecRequest(command="trap '' TERM; sleep 60 & sleep 60", timeout_s=0.3))
    assert result.timed_out
    assert (result.exit, result.signal) == (137, "SIGKILL")
    assert world.exec(ExecRequest(argv=("true",), timeout_s=30)).timed_out is False


def test_a_running_command_can_be_cancelled_by_its_span(world: World) -> None:
    span_id = new_span_id()
    request = ExecRequest(command="echo began; exec sleep 60", span_id=span_id)
    began = threading.Event()
    results: list[int] = []

    def run() -> None:
        results.append(world.exec(request, lambda *_row: began.set()).exit)

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(30)
    assert world.cancel(span_id)
    thread.join(30)
    assert results == [143]
    assert not world.cancel(span_id)


def test_commands_run_beside_each_other(world: World) -> None:
    def run(number: int) -> None:
        done[number] = world.exec(
            ExecRequest(command=f"echo {number} > by{number}; sleep 0.2")
        ).exit

    done: dict[int, int] = {}
    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == dict.fromkeys(range(3), 0)
    listed = world.exec(ExecRequest(command="cat by0 by1 by2"))
    assert listed.stdout is not None
    assert listed.stdout.text == "0\n1\n2\n"


def test_a_denied_command_does_not_run_and_says_by_which_rule(world: World) -> None:
    result = world.exec(ExecRequest(command="echo ran > ran; cd x && sudo rm -rf y"))
    assert result.exit == 126
    assert result.policy_decision is not None
    assert result.policy_decision.action == "deny"
    assert result.policy_decision.rule == "cmd_denied:rm -rf *"
    assert result.policy_decision.source is not None
    assert "policy.yaml:1" in result.policy_decision.source
    assert world.exec(ExecRequest(argv=("test", "-e", "ran"))).exit == 1


def test_a_changed_policy_holds_from_the_next_command_on(world: World, place: Place) -> None:
    place.write_policy('cmd_denied: ["rm -rf *", "date"]\n')
    try:
        assert world.exec(ExecRequest(argv=("date",))).exit == 0
        world.apply_policy()
        assert world.exec(ExecRequest(argv=("date",))).exit == 126
    finally:
        place.write_policy('cmd_denied: ["rm -rf *"]\n')
        world.apply_policy()


def test_a_program_that_is_not_there_is_a_result_too(world: World) -> None:
    result = world.exec(ExecRequest(argv=("nosuch-program",)))
    assert result.exit == 127
    assert result.stderr is not None
    assert "nosuch-program" in result.stderr.text


@pytest.mark.parametrize(
    "request_", [ExecRequest(), ExecRequest(argv=("true",), command="true")], ids=["none", "both"]
)
def test_a_request_without_one_command_is_refused(world: World, request_: ExecRequest) -> None:
    with pytest.raises(UsageError, match="either argv or a command"):
        world.exec(request_)


def test_a_span_id_is_used_once(world: World) -> None:
    span_id = new_span_id()
    request = ExecRequest(argv=("true",), span_id=span_id)
    assert world.exec(request).exit == 0
    with pytest.raises(SubstrateError, match=span_id):
        world.exec(request)


def test_an_unknown_span_is_told_so(world: World) -> None:
    for ask in (world.fs_diff, world.scopes):
        with pytest.raises(SubstrateError, match="00000000000000ff"):
            ask("00000000000000ff")


def test_the_session_is_the_same_for_whoever_asks_again(world: World, place: Place) -> None:
    assert world.ensure_session(WorldSpec()) == world.ensure_session(WorldSpec())
    other = place.world()
    assert other.find_session(WorldSpec()) == world.ensure_session(WorldSpec())


def test_a_span_hangs_below_the_one_it_names(world: World) -> None:
    result = world.exec(ExecRequest(command="echo $TRACEPARENT", parent_span="00000000000000aa"))
    assert result.stdout is not None
    assert result.stdout.text.split("-")[2] == result.span_id


def test_a_background_process_does_not_hold_the_result(world: World) -> None:
    began = time.monotonic()
    result = world.exec(ExecRequest(command="sleep 60 & echo $!"))
    assert time.monotonic() - began < 30
    assert result.stdout is not None
    assert world.exec(ExecRequest(command=f"kill {result.stdout.text}")).exit == 0
