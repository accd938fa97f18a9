from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.errors import (
    SubstrateError,
    UsageError,
    WorldExistsError,
    WorldNotFoundError,
    WorldStateError,
)
from substrate.record import replace
from substrate.world import store
from substrate.world.state import State
from substrate.world.store import World, check_id, list_ids

if TYPE_CHECKING:
    from substrate.world.context import Context

STATE = State("w", "creating", "/bundle", "/rootfs", "2024-01-01T00:00:00.000000000Z", 0)
_LONG_AGO_S = 0.05


@pytest.mark.parametrize("world_id", ["a", "A-1_2.3+4", "..a", "...", "-", "x" * 64])
def test_an_id_of_the_engines_is_one(world_id: str) -> None:
    check_id(world_id)


@pytest.mark.parametrize(
    "world_id", ["", ".", "..", "a/b", "/", "a b", "a\n", "ü", "a\0", "x" * 65, "a:b", "a*"]
)
def test_what_could_leave_the_directory_or_a_terminal_is_no_id(world_id: str) -> None:
    with pytest.raises(UsageError, match="invalid id"):
        check_id(world_id)


def test_a_long_id_is_told_in_short() -> None:
    with pytest.raises(UsageError) as caught:
        check_id("x" * 5000)
    assert len(caught.value.message) < 120


def test_a_world_is_claimed_once(context: Context) -> None:
    with World.claim(context, "w"):
        with pytest.raises(WorldExistsError, match="the id w is already in use") as caught:
            World.claim(context, "w")
        assert "delete --force w" in caught.value.hint
        with World.claim(context, "v"):
            assert list_ids(context) == ["v", "w"]


def test_only_one_of_many_claims_succeeds(context: Context) -> None:
    won: list[World] = []
    start = threading.Barrier(8)

    def claim() -> None:
        start.wait()
        try:
            won.append(World.claim(context, "w"))
        except WorldExistsError:
            return

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].close()


def test_the_directories_are_for_us_alone(context: Context) -> None:
    with World.claim(context, "w") as world:
        assert os.stat(context.root).st_mode & 0o777 == 0o700
        assert os.stat(world.path).st_mode & 0o777 == 0o700
        world.write(STATE)
        assert os.stat(Path(world.path, "state.json")).st_mode & 0o777 == 0o600


def test_a_world_that_is_not_there_is_not_found(context: Context) -> None:
    with pytest.raises(WorldNotFoundError, match="container w does not exist"):
        World.open(context, "w")
    assert list_ids(context) == []


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_directory_is_no_world(context: Context, tmp_path: Path, kind: str) -> None:
    os.makedirs(context.root)
    place = Path(context.root, "w")
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path)
    with pytest.raises((WorldNotFoundError, OSError)):
        World.open(context, "w")


def test_what_is_written_is_read(context: Context) -> None:
    with World.claim(context, "w") as world:
        assert world.read_file("state.json") is None
        with pytest.raises(WorldNotFoundError):
            world.read()
        world.write(STATE)
        assert world.read() == STATE
        changed = replace(STATE, pid=5, status="created")
        world.write(changed)
    with World.open(context, "w") as again:
        assert again.read() == changed


def test_a_half_written_file_is_never_seen(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the rename, a write changes nothing."""

    def killed(*_names: str, **_directories: int) -> None:
        raise KeyboardInterrupt

    with World.claim(context, "w") as world:
        world.write(STATE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                world.write(replace(STATE, status="running"))
        assert world.read() == STATE
        world.write(replace(STATE, status="running"))
        assert world.read().status == "running"
        world.remove()
    assert not os.path.exists(os.path.join(context.root, "w"))


def test_a_link_in_the_directory_is_not_followed(context: Context, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("{}", encoding="utf-8")
    with World.claim(context, "w") as world:
        Path(world.path, "state.json").symlink_to(outside)
        with pytest.raises(OSError, match="symbolic links"):
            world.read_file("state.json")
        Path(world.path, ".config.json.new").symlink_to(outside)
        with pytest.raises(OSError, match="symbolic links"):
            world.write_file("config.json", "x")
    assert outside.read_text(encoding="utf-8") == "{}"


DAMAGED = ["", "{", "null", "[]", "{}", '"state"', '{"substrate": {}}', '{"substrate": null}',
           "\x00" * 100]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_state_is_told_with_its_file(context: Context, content: str) -> None:
    with World.claim(context, "w") as world:
        world.write_file("state.json", content)
        with pytest.raises(SubstrateError, match=r"state\.json is damaged") as caught:
            world.read()
    assert "--force" in caught.value.hint
    assert "Error" not in caught.value.message


@pytest.mark.parametrize("key", ["id", "pid", "bundle", "annotations", "substrate", "owner"])
def test_a_state_that_lacks_something_is_damaged(context: Context, key: str) -> None:
    data = STATE.to_json()
    del data[key]
    with World.claim(context, "w") as world:
        world.write_file("state.json", json.dumps(data))
        with pytest.raises(SubstrateError, match="is damaged"):
            world.read()


def test_who_comes_second_waits_for_the_lock(context: Context) -> None:
    world = World.claim(context, "w")
    world.write(STATE)
    got: list[str] = []

    def second() -> None:
        with World.open(context, "w") as other:
            other.lock()
            got.append(other.read().status)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(_LONG_AGO_S)
    assert got == []
    world.write(replace(STATE, status="created"))
    world.unlock()
    thread.join(10)
    assert got == ["created"]
    world.close()


def test_a_lock_that_is_kept_too_long_is_told(context: Context) -> None:
    with World.claim(context, "w"), World.open(context, "w") as other:
        with pytest.raises(WorldStateError, match="the world w is busy") as caught:
            other.lock(timeout_s=0)
        assert "fuser" in caught.value.hint


def test_closing_gives_the_lock_up(context: Context) -> None:
    World.claim(context, "w").close()
    with World.open(context, "w") as other:
        other.lock(timeout_s=0)


def test_the_lock_is_no_file(context: Context) -> None:
    with World.claim(context, "w") as world:
        assert os.listdir(world.path) == []
        directory = os.open(world.path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(directory)


@pytest.mark.parametrize("anew", [False, True])
def test_a_world_removed_while_we_waited_is_gone(context: Context, anew: bool) -> None:
    first = World.claim(context, "w")
    waiting = World.open(context, "w")
    first.remove()
    if anew:
        World.claim(context, "w").close()
    first.close()
    with waiting, pytest.raises(WorldNotFoundError):
        waiting.lock(timeout_s=0)


def test_a_claim_whose_directory_is_removed_at_once_claims_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `delete` may come between the making of the directory and the lock."""
    real, raced = World._open, list[str]()

    def open_and_lose(self: World) -> None:
        real(self)
        if not raced:
            raced.append(self.path)
            os.rmdir(self.path)

    monkeypatch.setattr(World, "_open", open_and_lose)
    before = len(os.listdir("/proc/self/fd"))
    with World.claim(context, "w") as world:
        world.write(STATE)
        assert world.read() == STATE
    assert raced
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_state_is_removed_last(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted `delete` can be told what to finish."""
    removed: list[str] = []
    real = World.remove_file

    def note(self: World, name: str) -> None:
        removed.append(name)
        real(self, name)

    monkeypatch.setattr(World, "remove_file", note)
    with World.claim(context, "w") as world:
        for name in ("zzz", "aaa", "config.json"):
            world.write_file(name, "")
        world.write(STATE)
        world.remove()
    assert removed[-1] == "state.json"
    assert len(removed) == 4


def test_removing_twice_is_removing(context: Context) -> None:
    with World.claim(context, "w") as world:
        world.remove()
        world.remove()
        world.remove_file("nothing")


def test_strangers_in_the_root_are_no_worlds(context: Context) -> None:
    os.makedirs(context.root)
    for name in ("a world", "ü", "real"):
        Path(context.root, name).mkdir()
    assert list_ids(context) == ["real"]


def test_a_root_that_others_can_change_is_refused(context: Context) -> None:
    os.makedirs(context.root)
    os.chmod(context.root, 0o777)  # noqa: S103 -- that is the point
    with pytest.raises(SubstrateError, match="can be changed by other users"):
        World.claim(context, "w")
    assert os.listdir(context.root) == []


def test_the_longest_id_fits_a_directory() -> None:
    assert store._LONGEST_ID <= 255
