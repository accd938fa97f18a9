"""No room left where Substrate keeps its worlds: a named refusal at every stage, nothing lost."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.desks import FILES, Desk
from tests.support.features import requires
from tests.support.spans import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.runtime import Result, Runtime

pytestmark = requires("root", "overlayfs.stacked", *calls.LAYERED)

SCRIPT = "echo more >>a; rm d/c; mv d e; mkdir new; echo n >new/n"
FULL = "No space left on device"


class Room:
    """A runtime whose directories are on a small file system, and what takes up all its room."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._filler = runtime.home / "filler"

    def fill(self) -> None:
        """Leave no room, but for what is in use."""
        with self._filler.open("wb") as file:
            for size in (1 << 16, 1 << 12):
                try:
                    while True:
                        os.write(file.fileno(), b"x" * size)
                except OSError as error:
                    assert error.strerror == FULL, error  # noqa: PT017 -- it ends the loop

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


@pytest.fixture
def room(runtime: Runtime) -> Iterator[Room]:
    options = "size=16m,mode=0700"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "substrate-test", runtime.home], check=True
    )
    yield Room(runtime)
    for world in runtime.worlds():
        runtime("delete", "--force", world).ok()
    subprocess.run(["umount", runtime.home], check=True)


def refused(done: Result, doing: str = "") -> None:
    """Check that it was said by name and with a way out."""
    assert done.status == 1, done
    assert FULL in done.stderr
    assert doing in done.stderr
    assert "df -h" in done.stderr


def test_commands_go_on_and_their_changes_can_be_seen_although_nothing_can_be_recorded(
    room: Room,
) -> None:
    session = Session(room.runtime, FILES)
    session.span("one", SCRIPT).ok()
    room.fill()
    done = session.span("two", "echo x >more; echo z >>a || echo no room").ok()
    assert done.stdout == "no room\n"
    assert f"what span two changed is not recorded: {FULL}" in done.stderr
    assert session.lines("two") == ["+ more"]
    assert session.lines("one") == ["~ a", "- d/c", "> d/ -> e/", "+ new/", "+ new/n"]
    assert session.lines() == ["~ a", "- d/c", "> d/ -> e/", "+ more", "+ new/", "+ new/n"]
    room.free()
    session.span("three", "echo z >>a").ok()
    assert session.lines("three") == ["~ a"]


def test_no_world_is_made_and_none_is_left_over(room: Room) -> None:
    room.fill()
    refused(room.runtime("run", "--bundle", room.runtime.bundle("true"), "w"))
    refused(room.runtime("create", "--bundle", room.runtime.bundle("true"), "w"))
    assert room.runtime.worlds() == []
    room.free()
    room.runtime("run", "--bundle", room.runtime.bundle("true"), "w").ok()


def test_accept_and_undo_are_refused_and_leave_the_project_as_it_was(room: Room) -> None:
    desk = Desk(room.runtime, SCRIPT)
    room.fill()
    refused(desk("accept"), f"changing {desk.project}")
    assert desk.files() == FILES
    room.free()
    desk("accept").ok()
    accepted = desk.files()
    assert accepted["a"] == "one\nmore\n"
    room.fill()
    refused(desk("undo"), f"changing {desk.project}")
    assert desk.files() == accepted
    room.free()
    desk("undo").ok()
    assert desk.files() == FILES


def test_room_can_be_made_by_discarding_and_deleting(room: Room) -> None:
    desk = Desk(room.runtime, f"{SCRIPT}; head -c 4000000 /dev/zero >large")
    room.fill()
    done = desk("discard", "large")
    if done.status:
        refused(done)
        assert "+ large" in desk.lines()
    room.runtime("delete", "w").ok()
    assert room.runtime.worlds() == []
    assert os.statvfs(room.runtime.home).f_bavail > 0
    assert desk.files() == FILES


FILLING = "cat /dev/zero >large || echo full"


def test_a_command_that_fills_the_room_can_be_taken_back(room: Room) -> None:
    session = Session(room.runtime, FILES)
    session.span("one", SCRIPT).ok()
    room.runtime("snapshot", "w", "before").ok()
    done = session.span("two", FILLING).ok()
    assert done.stdout == "full\n"
    assert f"what span two changed is not recorded: {FULL}" in done.stderr
    assert "+ large" in session.lines()
    refused(room.runtime("accept", "w"), "changing ")
    room.runtime("rollback", "w", "before").ok()
    # What it had changed is on record all the same.
    assert session.lines("two") == ["+ large"]
    assert session.lines() == ["~ a", "- d/c", "> d/ -> e/", "+ new/", "+ new/n"]
    room.runtime("accept", "w").ok()


def test_all_changes_can_be_forgotten_when_one_of_them_has_filled_the_room(room: Room) -> None:
    session = Session(room.runtime, FILES)
    session.span("one", SCRIPT).ok()
    session.span("two", FILLING).ok()
    room.runtime("discard", "w").ok()
    assert session.lines("two") == ["+ large"]
    assert session.lines() == []
    session.span("three", "echo more >>a").ok()
    assert session.lines() == ["~ a"]
