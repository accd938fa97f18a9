"""The next command's layer, made while nobody waits: as if it had been made for the command."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from substrate.api.records import ExecRequest, WorldSpec
from substrate.errors import ConflictError, LayerInUseError
from substrate.world.ahead import LayerAhead
from tests.support.dying import dies_at
from tests.support.features import requires
from tests.support.runtime import ROOT
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from substrate.api.inprocess import InProcessWorld

pytestmark = requires(*NEEDED)

_RUNTIME = ROOT / ".venv/bin/substrate-runtime"
_SHOWN = "grep -c /layers/.ahead- /proc/self/mountinfo"


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place({"known.txt": "as it was\n"}) as made:
        made.project.parent.chmod(0o755)
        yield made


@pytest.fixture
def world(place: Place) -> Iterator[InProcessWorld]:
    with place.session() as made:
        yield made


def made_ahead(place: Place) -> list[Path]:
    return list(place.home.glob("data/*/layers/.ahead-*"))


def wait_for_layer(place: Place) -> None:
    """Wait until a layer is being made; who runs a command then waits for it to be complete."""
    deadline = time.monotonic() + 30
    while not made_ahead(place):
        assert time.monotonic() < deadline, "no layer is made ahead"
        time.sleep(0.001)


def make(ahead: LayerAhead) -> None:
    """Make a layer now; the mounts of the command before may end a moment after it."""
    deadline = time.monotonic() + 30
    while True:
        try:
            ahead.make_now()
        except LayerInUseError:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        else:
            return


def run(world: InProcessWorld, command: str) -> str:
    result = world.exec(ExecRequest(command=command))
    assert result.stdout is not None
    assert result.telemetry == ()
    return result.stdout.text


def changed_by(world: InProcessWorld, command: str) -> list[tuple[str, str]]:
    result = world.exec(ExecRequest(command=command))
    assert result.exit == 0
    assert result.fs_diff is not None
    return [(entry.change, entry.path) for entry in result.fs_diff.entries]


def leave(place: Place) -> None:
    """End the session, whose first process is a child of ours."""
    world = place.world()
    world.find_session(WorldSpec())
    world.destroy()


def test_a_command_after_a_moment_has_the_layer_that_was_made_ahead(
    place: Place, world: InProcessWorld
) -> None:
    assert run(world, _SHOWN) == "0\n"
    wait_for_layer(place)
    assert run(world, _SHOWN) == "1\n"


def test_every_command_is_told_what_it_changed_itself(place: Place, world: InProcessWorld) -> None:
    for number in range(5):
        made = changed_by(world, f"echo {number} > made{number}; echo {number} >> known.txt")
        wait_for_layer(place)
        assert made == [("mod", "known.txt"), ("write", f"made{number}")]
        assert changed_by(world, "cat known.txt") == []
        wait_for_layer(place)
    assert run(world, "cat known.txt made*") == "as it was\n" + "0\n1\n2\n3\n4\n" * 2
    assert [entry.path for entry in world.changes().entries] == [
        "known.txt", *(f"made{number}" for number in range(5))
    ]  # fmt: skip


def test_what_changes_on_the_host_after_the_layer_was_made_is_seen(
    place: Place, world: InProcessWorld
) -> None:
    (place.project / "gone.txt").touch()
    assert run(world, "cat known.txt; ls gone.txt new 2>&1") != ""
    for number in range(3):
        wait_for_layer(place)
        # Its maker is done when its directory is another's.
        time.sleep(0.05)
        (place.project / "known.txt").write_text(f"edited {number}\n", encoding="ascii")
        (place.project / "new").mkdir(exist_ok=True)
        (place.project / "new" / str(number)).touch()
        (place.project / "gone.txt").unlink(missing_ok=True)
        listed = "\n".join(map(str, range(number + 1)))
        assert run(world, f"cat known.txt; ls new; {_SHOWN}; ls gone.txt") == (
            f"edited {number}\n{listed}\n1\n"
        )


def test_what_a_person_edits_after_the_layer_was_made_is_no_conflict(
    place: Place, world: InProcessWorld
) -> None:
    for name in ("a", "b"):
        (place.project / name).write_text("first\n", encoding="ascii")
    for number in range(2):
        run(world, "true")
        wait_for_layer(place)
        time.sleep(0.1)
        for name in ("a", "b"):
            (place.project / name).write_text(f"edited {number}\n", encoding="ascii")
        time.sleep(0.05)
        shown = run(world, f"cat a b; {_SHOWN}; rm a; rm b; echo world > b")
        assert shown == f"edited {number}\n" * 2 + "1\n"
        world.accept(())
        assert not (place.project / "a").exists()
        assert (place.project / "b").read_text("ascii") == "world\n"
        (place.project / "a").write_text("again\n", encoding="ascii")


def test_what_a_person_edits_while_the_command_runs_is_a_conflict(
    place: Place, world: InProcessWorld
) -> None:
    run(world, "echo kept > kept")
    wait_for_layer(place)
    time.sleep(0.1)
    command = "cat known.txt; sleep 1; rm known.txt"
    thread = threading.Thread(target=run, args=(world, command))
    thread.start()
    time.sleep(0.5)
    (place.project / "known.txt").write_text("edited meanwhile\n", encoding="ascii")
    thread.join()
    with pytest.raises(ConflictError):
        world.accept(())


def test_a_project_that_is_another_directory_now_is_seen(
    place: Place, world: InProcessWorld
) -> None:
    run(world, "true")
    wait_for_layer(place)
    time.sleep(0.05)
    place.project.rename(place.project.with_name("former"))
    place.project.mkdir()
    (place.project / "known.txt").write_text("another\n", encoding="ascii")
    assert run(world, "cat known.txt") == "another\n"


def test_what_another_call_has_changed_meanwhile_is_seen_and_is_not_this_command_s(
    place: Place, world: InProcessWorld
) -> None:
    run(world, "true")
    wait_for_layer(place)
    asked = ["exec", "--span", "other", "--cwd", str(place.project), world.session.world_id]
    words = [str(_RUNTIME), *asked, "sh", "-c", "echo theirs > theirs"]
    subprocess.run(words, env=place.whole_environment, check=True, timeout=60)
    assert changed_by(world, "cat theirs; echo mine > mine") == [("write", "mine")]
    assert run(world, "cat theirs mine") == "theirs\nmine\n"


def test_a_background_process_in_a_layer_made_ahead_is_joined(
    place: Place, world: InProcessWorld
) -> None:
    run(world, "true")
    wait_for_layer(place)
    command = f"{_SHOWN}; (while [ ! -e stop ]; do sleep 0.05; done; echo late > late) & echo $!"
    shown, pid = run(world, command).split()
    assert shown == "1"
    joined = world.exec(ExecRequest(command=f"touch stop; tail --pid={pid} -f /dev/null"))
    assert joined.exit == 0
    assert joined.fs_diff is not None
    assert joined.fs_diff.writes == ("late", "stop")
    assert run(world, "cat late") == "late\n"


def test_commands_at_the_same_time_lose_nothing(place: Place, world: InProcessWorld) -> None:
    told: dict[str, list[tuple[str, str]]] = {}

    def work(number: int) -> None:
        for turn in range(10):
            name = f"f{number}-{turn}"
            told[name] = changed_by(world, f"echo {turn} > {name}")
            changed_by(world, "true")
            time.sleep(0.004 * (turn % 3))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(told) == 40
    # Who shares a layer for a moment is told of the others' changes too.
    assert all(("write", name) in changes for name, changes in told.items())
    assert sorted(run(world, "ls").split()) == sorted([*told, "known.txt"])
    assert [entry.path for entry in world.changes().entries] == sorted(told)


@pytest.mark.parametrize("how", ["accept", "rollback", "discard"])
def test_a_stack_that_is_another_now_is_what_the_command_sees(
    place: Place, world: InProcessWorld, how: str
) -> None:
    run(world, "echo one > one")
    run(world, "true")
    wait_for_layer(place)
    time.sleep(0.05)
    if how == "accept":
        # By another than the one who made the layer.
        other = place.world()
        other.find_session(WorldSpec())
        other.accept(())
        other.close()
        assert (place.project / "one").read_text("ascii") == "one\n"
    else:
        words = [str(_RUNTIME), how, *(["--all"] if how == "rollback" else [])]
        words.append(world.session.world_id)
        subprocess.run(words, env=place.whole_environment, check=True, timeout=60)
    shown = run(world, "cat one 2>/dev/null; echo two > two")
    assert shown == ("one\n" if how == "accept" else "")
    assert run(world, "cat two") == "two\n"
    assert [entry.path for entry in world.changes().entries] == ["two"]


def test_two_who_run_commands_in_turn_see_each_other_s_changes(place: Place) -> None:
    one, two = place.world(), place.world()
    one.ensure_session(WorldSpec())
    two.ensure_session(WorldSpec())
    for number in range(4):
        for world, name in ((one, "one"), (two, "two")):
            assert changed_by(world, f"echo {name} >> turns") == [
                ("mod" if number or name == "two" else "write", "turns")
            ]
            wait_for_layer(place)
    assert run(one, "cat turns") == "one\ntwo\n" * 4
    two.close()
    one.close()
    assert not made_ahead(place)
    leave(place)


def test_a_session_that_is_left_leaves_no_layer_behind(place: Place) -> None:
    world = place.world()
    world.ensure_session(WorldSpec())
    run(world, "echo kept > kept")
    wait_for_layer(place)
    world.close()
    assert not made_ahead(place)
    again = place.world()
    again.find_session(WorldSpec())
    assert run(again, "cat kept") == "kept\n"
    again.destroy()


def test_a_front_end_that_runs_one_command_makes_no_layer_for_another(place: Place) -> None:
    assert place.call("-c", "echo once > once").returncode == 0
    assert not made_ahead(place)
    place.end()


@pytest.mark.parametrize("manner", ["before", "after"])
def test_who_is_killed_while_a_layer_is_made_ahead_has_changed_nothing(
    place: Place, manner: str
) -> None:
    world = place.world()
    world.ensure_session(WorldSpec())
    run(world, "echo kept > kept")
    world.close()
    ahead = LayerAhead(place.context, world_id := _world_id(place))
    step = 1
    while dies_at(step, lambda: LayerAhead(place.context, world_id).make_now(), manner):
        # Whatever is left is removed by the next who makes one.
        make(ahead)
        assert len(made_ahead(place)) == 1
        ahead.close()
        assert not made_ahead(place)
        step += 1
    assert step > 10
    again = place.world()
    again.find_session(WorldSpec())
    assert run(again, "cat kept known.txt") == "kept\nas it was\n"
    assert [entry.path for entry in again.changes().entries] == ["kept"]
    again.destroy()


def _world_id(place: Place) -> str:
    (folder,) = (place.home / "data").glob("*/layers")
    return folder.parent.name
