"""Freezing, killing and removing whole cgroups, and whose they are; needs cgroup v2 (`ci/vm`)."""

from __future__ import annotations

import errno
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from substrate.bundle.extension import Limits
from substrate.cgroups.group import Cgroup
from substrate.cgroups.hierarchy import Place, choose_place, find_hierarchy
from substrate.cgroups.limits import cgroup_files
from substrate.cgroups.owned import OWNER_MARKS, open_world, remove_world
from substrate.cgroups.place import (
    make_span,
    make_world,
    seat,
    update_world,
)
from substrate.cgroups.statistics import read_statistics
from substrate.errors import RefusedError, SubstrateError, UnsupportedError
from substrate.kernel import cgroup2
from tests.support.cgroups import MIB, OWNER, ended, make, python, sleeper, start, value
from tests.support.features import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [requires("root", "cgroup2", "cgroup2.memory", "cgroup2.cpu", "cgroup2.pids")]
_MOUNT = find_hierarchy().mount


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    """A world's cgroup without limits."""
    made = make(str(abs(hash(request.node.name))))
    with made:
        yield made
        assert remove_world(made.directory, OWNER)
    assert not os.path.exists(made.directory)


def test_freezer_stops_and_releases_everybody(world: Cgroup) -> None:
    pid = python(world, "while True: pass")
    try:
        world.freeze()
        assert world.is_frozen
        stood = read_statistics(world.fd).cpu_time_s
        time.sleep(0.2)
        assert read_statistics(world.fd).cpu_time_s == pytest.approx(stood, abs=0.02)
        world.thaw()
        assert not world.is_frozen
        time.sleep(0.3)
        assert read_statistics(world.fd).cpu_time_s > stood + 0.05
    finally:
        world.kill()
        ended(pid)


def test_a_frozen_world_can_be_removed() -> None:
    world = make("frozen")
    with world:
        pid = sleeper(world)
        world.freeze()
        assert remove_world(world.directory, OWNER)
        assert ended(pid) == -signal.SIGKILL


_DAEMONS = """
import os, time
for _ in range(10):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.parametrize("old_kernel", [False, True])
def test_killing_reaches_daemons_within_200_ms(
    world: Cgroup, old_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_kernel:
        write = cgroup2.write

        def without_kill(fd: int, name: str, text: str) -> None:
            if name == "cgroup.kill":
                raise FileNotFoundError(errno.ENOENT, "before 5.14")
            write(fd, name, text)

        monkeypatch.setattr(cgroup2, "write", without_kill)
    pid = python(world, _DAEMONS)
    deadline = time.monotonic() + 20
    while len(world.processes()) < 11:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    began = time.monotonic()
    world.kill()
    assert world.wait_empty(5)
    assert time.monotonic() - began < 0.2
    assert ended(pid) == -signal.SIGKILL


def test_a_signal_reaches_everybody(world: Cgroup) -> None:
    pids = [sleeper(world) for _ in range(5)]
    world.signal(signal.SIGTERM)
    assert [ended(pid) for pid in pids] == [-signal.SIGTERM] * 5
    world.signal(signal.SIGTERM)  # nobody is left, and that is fine
    assert not world.is_frozen


def test_waiting_for_the_end_has_a_deadline(world: Cgroup) -> None:
    pid = sleeper(world)
    began = time.monotonic()
    assert not world.wait_empty(0.1)
    assert 0.09 < time.monotonic() - began < 2
    with pytest.raises(SubstrateError, match="cannot remove the cgroup") as caught:
        world.remove(timeout_s=0.05)
    assert str(pid) in caught.value.hint
    world.kill()
    ended(pid)


def test_a_process_can_be_moved_in(world: Cgroup) -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    world.add_process(pid)
    assert world.processes() == [pid]
    world.kill()
    assert ended(pid) == -signal.SIGKILL


def test_removal_is_idempotent_and_a_removed_cgroup_stays_removed() -> None:
    world = make("gone")
    with world:
        os.mkdir(f"{world.directory}/a")
        os.mkdir(f"{world.directory}/a/b")
        pid = sleeper(world)
        assert remove_world(world.directory, OWNER)
        ended(pid)
        assert not world.is_populated
        assert world.processes() == []
        world.kill()
        world.remove()
    assert remove_world(world.directory, OWNER)
    assert open_world(world.directory, OWNER) is None
    assert not os.path.exists(f"{_MOUNT}/substrate")


def test_every_interruption_of_making_can_be_cleaned_up() -> None:
    folder = f"{_MOUNT}/substrate"
    directory = f"{folder}/interrupted"
    # The path was stored and nothing made; only the folder; the world, not yet marked.
    assert remove_world(directory, OWNER)
    os.mkdir(folder)
    assert remove_world(directory, OWNER)
    assert not os.path.exists(folder)
    os.makedirs(directory)
    assert remove_world(directory, OWNER)
    assert not os.path.exists(folder)


def test_a_maker_that_is_killed_at_any_write_leaves_what_can_be_removed() -> None:
    """The child dies before its n-th change of the hierarchy, until it makes none any more."""
    place = Place(_MOUNT, ("substrate", "dies"))
    with make("bystander") as bystander:
        for changes in range(100):
            pid = os.fork()
            if pid == 0:
                _die_after(changes, place)
            status = ended(pid)
            assert remove_world(place.directory, OWNER)
            assert not os.path.exists(place.directory)
            if status == 0:
                break
        else:
            pytest.fail("the maker never finished")
        assert changes > 10
        assert remove_world(bystander.directory, OWNER)


def _die_after(changes: int, place: Place) -> None:
    left = changes

    def counting(change: Any) -> Any:
        def changed(*words: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return change(*words, **named)

        return changed

    try:
        cgroup2.write = counting(cgroup2.write)
        os.mkdir = counting(os.mkdir)
        os.setxattr = counting(os.setxattr)
        limits = cgroup_files({"pids": {"limit": 9}, "memory": {"limit": MIB}})
        with make_world(place, limits, OWNER, accounting=True) as world:
            sleeper(world.child("init") or world)
        os._exit(0)
    finally:
        os._exit(1)


def test_somebody_elses_cgroup_is_neither_taken_nor_killed() -> None:
    directory = f"{_MOUNT}/theirs"
    os.mkdir(directory)
    theirs = Cgroup.open(directory)
    assert theirs is not None
    place = Place(_MOUNT, ("theirs",))
    with theirs:
        pid = sleeper(theirs)
        try:
            with pytest.raises(RefusedError, match="is in use already"):
                make_world(place, cgroup_files(None), OWNER)
            assert not remove_world(directory, OWNER)
            os.setxattr(directory, OWNER_MARKS[0], b"another world")
            with pytest.raises(RefusedError, match="belongs to the world another world"):
                make_world(place, cgroup_files(None), OWNER)
            assert not remove_world(directory, OWNER)
            assert open_world(directory, OWNER) is None
            assert theirs.processes() == [pid]
        finally:
            theirs.kill()
            ended(pid)
            theirs.remove()


def test_an_empty_cgroup_made_for_us_is_used() -> None:
    os.mkdir(f"{_MOUNT}/prepared")
    place = Place(_MOUNT, ("prepared",))
    with make_world(place, cgroup_files({"pids": {"limit": 5}}), OWNER) as world:
        assert value(world, "pids.max") == "5"
    assert remove_world(place.directory, OWNER)


def test_a_refused_limit_leaves_no_cgroup() -> None:
    with pytest.raises(SubstrateError, match=r"cpu\.max"):
        make("refused", {"unified": {"cpu.max": "7 7"}})
    remove_world(f"{_MOUNT}/substrate/refused", OWNER)
    assert not os.path.exists(f"{_MOUNT}/substrate")


def test_a_cgroup_with_processes_gives_no_controllers_to_its_children() -> None:
    os.mkdir(f"{_MOUNT}/full")
    full = Cgroup.open(f"{_MOUNT}/full")
    assert full is not None
    with full:
        pid = sleeper(full)
        try:
            place = Place(full.directory, ("substrate", "w"))
            with pytest.raises(UnsupportedError, match="cannot enable the memory") as caught:
                make_world(place, cgroup_files({"memory": {"limit": MIB}}), OWNER)
            assert "move them into a cgroup below" in caught.value.hint
            # Without limits there is nothing to enable that must be had.
            with make_world(place, cgroup_files(None), OWNER) as world:
                assert value(world, "memory.max") is None
            assert remove_world(place.directory, OWNER)
        finally:
            full.kill()
            ended(pid)
            full.remove()


def test_200_worlds_in_parallel_leave_nothing() -> None:
    def live(number: int) -> bool:
        with make(f"many-{number}", ours=Limits(memory_bytes=32 * MIB, pids=5)) as world:
            os.mkdir(f"{world.directory}/inner")
            return remove_world(world.directory, OWNER)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(live, range(200)))
    assert not os.path.exists(f"{_MOUNT}/substrate")


def test_an_ordinary_user_needs_a_delegated_subtree() -> None:
    directory = f"{_MOUNT}/user"
    os.mkdir(directory)
    shell = Cgroup.open(directory)
    assert shell is not None
    with shell:
        for name in ("cgroup.subtree_control", "cgroup.procs", ""):
            os.chown(f"{directory}/{name}", 65534, 65534)
        inner = shell.make_child("shell")
        os.chown(f"{inner.directory}", 65534, 65534)
        for name in ("cgroup.subtree_control", "cgroup.procs"):
            os.chown(f"{inner.directory}/{name}", 65534, 65534)
        with inner:
            assert ended(start(shell, _as_user_elsewhere)) == 0
            assert ended(start(inner, lambda: _as_user(directory))) == 0
        shell.remove()


def _as_user(delegated: str) -> None:
    os.setgid(65534)
    os.setuid(65534)
    hierarchy = find_hierarchy()
    place = choose_place(hierarchy, None, "mine", privileged=False)
    assert place.directory == f"{delegated}/substrate/mine"
    offered = open(f"{delegated}/cgroup.controllers", encoding="ascii").read().split()  # noqa: SIM115
    limits = {"pids": {"limit": 5}} if "pids" in offered else {}
    with make_world(place, cgroup_files(limits), OWNER) as world:
        pid = sleeper(world)
        assert world.processes() == [pid]
        assert remove_world(world.directory, OWNER)
        ended(pid)


def _as_user_elsewhere() -> None:
    os.setgid(65533)
    os.setuid(65533)
    try:
        choose_place(find_hierarchy(), None, "mine", privileged=False)
    except UnsupportedError as error:
        assert "not delegated to uid 65533" in error.message  # noqa: PT017
    else:
        os._exit(3)


def test_spans_share_the_world_and_can_be_ended_apart() -> None:
    with make("spans", ours=Limits(pids=10)) as world:
        with seat(world) as first:
            assert first.directory == world.directory
            kept = sleeper(first)
        with make_span(world, "1") as span:
            survivor = sleeper(span)
            assert sorted(world.processes()) == sorted([kept, survivor])
            assert span.processes() == [survivor]
            assert "usage_usec" in read_statistics(span.fd).cpu
            span.kill()
            ended(survivor)
            span.remove()
        assert world.processes() == [kept]
        assert remove_world(world.directory, OWNER)
        ended(kept)


def test_spans_are_accounted_apart_where_asked() -> None:
    limits = Limits(memory_bytes=64 * MIB, pids=10)
    with make("accounted", ours=limits, accounting=True) as world:
        with seat(world) as first:
            assert first.directory.endswith("/init")
            assert value(first, "memory.max") == str(64 * MIB)
            kept = sleeper(first)
        with make_span(world, "1") as span:
            assert ended(python(span, f"bytearray({8 * MIB})")) == 0
            peak = read_statistics(span.fd).memory_peak_bytes
            assert peak is None or peak > 4 * MIB
            assert value(span, "pids.max") == "10"
            update_world(world, cgroup_files({"pids": {"limit": 7}}))
            assert value(span, "pids.max") == "7"
        assert remove_world(world.directory, OWNER)
        ended(kept)
