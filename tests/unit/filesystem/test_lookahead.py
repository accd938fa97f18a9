"""What another process reads before a walk asks is what the walk would have read itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.filesystem import lookahead, walk
from substrate.filesystem.descriptors import Tree
from substrate.filesystem.diff import diff_layers
from substrate.filesystem.lookahead import LookAhead, can_look_ahead
from substrate.filesystem.merged import Merged
from substrate.filesystem.removal import remove_layers
from substrate.kernel import looking
from substrate.kernel.looking import start_look_ahead
from tests.support.ahead import both_ways, count_looks, looking_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.filesystem.lookahead import Look

USER = "user.overlay."
SOURCE = Path(looking.__file__).parent / "native/look_ahead.c"


@pytest.fixture
def levels(tmp_path: Path) -> Iterator[list[Path]]:
    """Two layers over a project, the topmost first."""
    found = [tmp_path / name for name in ("two", "one", "project")]
    for path in found:
        path.mkdir()
    yield found
    remove_layers(str(tmp_path))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def compare(levels: list[Path], uppers: int = 1) -> list[str]:
    """Return the changed paths, which are the same with and without looking ahead."""
    names = [str(path) for path in levels]
    diff = both_ways(lambda: diff_layers(names[:uppers], names[uppers:], USER))
    return [entry.path for entry in diff.entries]


def test_every_directory_of_a_wide_change_was_read_before_it_is_asked_for(
    levels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        write(levels[2] / f"d{number}/a/f", "one")
        write(levels[0] / f"d{number}/a/f", "other")
    usual = diff_layers([str(levels[0])], [str(levels[2])], USER).to_json()
    looks = count_looks(monkeypatch)
    assert diff_layers([str(levels[0])], [str(levels[2])], USER).to_json() == usual
    assert looks == [True] * 400
    assert len(usual["mods"]) == 200


def test_a_small_change_starts_no_process(
    levels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)
    for number in range(walk.LOOK_AHEAD):
        write(levels[0] / f"d{number}/f", "one")
    assert len(diff_layers([str(levels[0])], [str(levels[2])], USER).writes) == 60
    assert not looks


@pytest.mark.parametrize("uppers", [1, 2])
def test_layers_cover_each_other_as_they_do_for_the_walk(levels: list[Path], uppers: int) -> None:
    two, one, project = levels
    for number in range(10):
        for level, text in ((two, "2"), (one, "11"), (project, "000")):
            write(level / f"d{number}/both", text)
        write(one / f"d{number}/sub/first", "1")
        write(two / f"d{number}/sub/second", "2")
        write(project / f"d{number}/sub/third", "0")
    # A directory over a file, a file over a directory, and opaque ones.
    (one / "d1/sub/second").mkdir()
    shutil.rmtree(two / "d2/sub")
    (two / "d2/sub").write_text("a file now")
    os.setxattr(two / "d3/sub", USER + "opaque", b"y")
    os.setxattr(one / "d4", USER + "opaque", b"y")
    os.setxattr(two / "d5", USER + "opaque", b"x")
    os.setxattr(two / "d6", USER + "redirect", b"/d7")
    os.setxattr(two / "d8", "user.seen", b"1")
    (two / "d9").chmod(0o700)
    changed = compare(levels, uppers)
    assert {"d2/sub", "d3/sub/second", "d8", "d9"} <= set(changed)


def test_each_level_is_told_without_what_others_have(levels: list[Path]) -> None:
    # A redirect may put other levels above one than those of the same path.
    two, one, project = levels
    for level in levels:
        write(level / "d/f", level.name)
        (level / "d/sub").mkdir()
    with Tree(str(two)) as first, Tree(str(one)) as second, Tree(str(project)) as lower:
        ahead = LookAhead(Merged([first, second, lower], 2, USER), ["d"])
        try:
            found = ahead.take("", "d")
            assert found is not None
            for level, seen in zip((two, one), found[2], strict=False):
                assert seen
                listed = dict(seen.listing or ())
                assert listed["sub"] is None
                assert listed["f"] == (level / "d/f").stat()
            ahead.expect("d/sub")
            assert ahead.take("d", "sub") is not None
            # Once, whatever number of levels has it.
            assert next(ahead._records, None) is None
        finally:
            ahead.close()


@pytest.mark.parametrize("seconds", [-(10**11), -1, 0, 9 * 10**9, 10**10, 10**11])
def test_a_time_of_any_century_is_told_as_it_is(levels: list[Path], seconds: int) -> None:
    two, _, project = levels
    for path in (two / "d/f", project / "d/f", project / "d/g", two / "d/g"):
        write(path, path.parent.parent.name)
        os.utime(path, (seconds, 0) if path.name == "g" else (0, seconds))
    os.utime(two / "d", (0, seconds))
    assert compare([two, project]) == ["d/f", "d/g"]


@pytest.mark.parametrize(
    "name", [b"new\nline", b"\xff\xfe", b"x" * 255, b" ", b"\\", "größer".encode()], ids=repr
)
def test_any_name_is_read(levels: list[Path], name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = count_looks(monkeypatch)
    for level in (levels[0], levels[2]):
        folder = os.fsencode(level) + b"/" + name
        os.mkdir(folder)
        Path(os.fsdecode(folder + b"/" + name)).write_text(level.name)
    inner = os.fsdecode(name + b"/" + name)
    assert compare([levels[0], levels[2]]) == [inner]
    assert looks == [True]


def test_what_is_too_much_for_it_the_walk_reads_itself(levels: list[Path]) -> None:
    two, _, project = levels
    for number in range(1100):
        write(two / f"many/f{number}", "new")
    write(two / "many/inner/f", "new")
    write(two / "attributes/f", "new")
    write(project / "attributes/f", "old")
    # On file systems with room for it, more names than it takes.
    for number in range(30):
        try:
            os.setxattr(two / "attributes", f"user.{number}{'x' * 240}", b"")
        except OSError:
            break
    deep = two
    for _ in range(50):
        deep /= "deep"
    write(deep / "f", "new")
    wide = two
    for _ in range(20):
        wide /= "w" * 100
    write(wide / "f", "new")
    assert len(compare([two, project])) > 1150


def test_what_changes_meanwhile_is_read_by_the_walk(levels: list[Path]) -> None:
    two, _, project = levels
    for number in range(40):
        write(two / f"d{number}/sub/f", "new")
    tree = [Tree(str(two)), Tree(str(project))]
    merged = Merged(tree, 1, USER)
    try:
        names = sorted(os.listdir(two))
        ahead = LookAhead(merged, names)
        try:
            last = names.pop()
            assert ahead.take("", last) is not None
            ahead.expect(f"{last}/sub")
            ahead.expect(f"{last}/new")
            # Not there when it was read, so it is not in its place; all others are.
            assert ahead.take(last, "new") is None
            assert ahead.take(last, "sub") is not None
            # That it vanished shows when the walk goes on without asking for `sub`.
            assert ahead.take("", names.pop()) is not None
            assert ahead.take("", names.pop()) is not None
        finally:
            ahead.close()
    finally:
        for one in tree:
            one.close()


@pytest.mark.parametrize(
    ("now", "shown"), [(None, []), ("directory", ["d/new"]), ("file", ["d"]), ("link", ["d"])]
)
def test_a_directory_that_vanished_before_it_was_read_ahead_is_looked_for_again(
    levels: list[Path], monkeypatch: pytest.MonkeyPatch, now: str | None, shown: list[str]
) -> None:
    two, _, project = levels
    for path in (two / "d/f", two / "e/f", project / "d/g"):
        write(path, "new")

    def vanished(_ahead: LookAhead, folder: str, name: str) -> Look | None:
        if name != "d":
            return None
        shutil.rmtree(two / "d")
        if now == "directory":
            write(two / "d/new", "new")
        elif now == "file":
            write(two / "d", "a file")
        elif now == "link":
            os.symlink("gone", two / "d")
        return folder, name, [None, False]

    monkeypatch.setattr(LookAhead, "take", vanished)
    with looking_ahead():
        found = diff_layers([str(two)], [str(project)], USER).to_json()
    paths = [entry["path"] for entry in found["entries"]]
    assert [path for path in paths if path in {"d", "d/new"}] == shown


def test_a_process_that_ends_too_early_makes_no_difference(
    levels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        write(levels[0] / f"d{number}/f", "new")
    paths = [str(levels[0])], [str(levels[2])]
    whole = diff_layers(*paths, USER).to_json()
    take = LookAhead.take

    def killing(ahead: LookAhead, folder: str, name: str) -> Look | None:
        os.kill(ahead._pid, signal.SIGKILL)
        return take(ahead, folder, name)

    monkeypatch.setattr(LookAhead, "take", killing)
    assert diff_layers(*paths, USER).to_json() == whole


def test_without_processes_to_be_had_the_walk_does_it_alone(
    levels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object) -> tuple[int, int]:
        raise BlockingIOError

    write(levels[0] / "d/f", "new")
    monkeypatch.setattr(lookahead, "start_look_ahead", refused)
    with looking_ahead():
        assert diff_layers([str(levels[0])], [str(levels[2])], USER).writes == ("d", "d/f")


def test_a_walk_that_ends_early_leaves_no_process_and_no_descriptor(levels: list[Path]) -> None:
    for number in range(300):
        write(levels[0] / f"d{number}/f", "new")
    before = os.listdir("/proc/self/fd")
    with Tree(str(levels[0])) as upper, Tree(str(levels[2])) as lower:
        ahead = LookAhead(Merged([upper, lower], 1, USER), os.listdir(levels[0]))
        ahead.close()
        ahead.close()
        with pytest.raises(ChildProcessError):
            os.waitpid(ahead._pid, 0)
    assert os.listdir("/proc/self/fd") == before


def test_it_reads_directories_and_can_do_nothing_else(levels: list[Path]) -> None:
    # So much that it waits for somebody to read it.
    for number in range(64):
        write(levels[0] / f"d{number}/f{'x' * 200}", "new")
    fd = os.open(levels[0], os.O_RDONLY)
    pid, read_fd = start_look_ahead([fd] * 64, 64, USER, [b"d%d" % n for n in range(64)])
    try:
        assert os.read(read_fd, 1)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2\n" in status
        assert "NoNewPrivs:\t1\n" in status
    finally:
        os.close(read_fd)
        os.close(fd)
        _, ended = os.waitpid(pid, 0)
    assert os.WTERMSIG(ended) == signal.SIGPIPE


def test_half_a_path_is_not_read(levels: list[Path]) -> None:
    arena, longest = 64 << 20, 8192
    fd = os.open(levels[0], os.O_RDONLY)
    # What fits of the second is as long as the longest path.
    paths = [b"x" * (arena - longest - 1), b"y/" * longest]
    pid, read_fd = start_look_ahead([fd], 1, USER, paths)
    try:
        assert not os.read(read_fd, 1)
    finally:
        os.close(read_fd)
        os.close(fd)
        _, ended = os.waitpid(pid, 0)
    assert ended == 0


@pytest.mark.parametrize(("prefix", "code"), [(USER, 0), ("trusted.overlay.", 1)])
def test_without_the_right_to_see_attributes_it_tells_nothing(
    levels: list[Path], prefix: str, code: int
) -> None:
    # An opaque directory would be told as one that is not.
    (levels[0] / "d").mkdir()
    fd = os.open(levels[0], os.O_RDONLY)
    deprived = ["setpriv", "--bounding-set=-sys_admin"] if os.geteuid() == 0 else []
    words = [*deprived, str(SOURCE.parent / "look-ahead"), "1", prefix, str(fd)]
    try:
        ended = subprocess.run(
            words, input=b"d\0", stdout=subprocess.PIPE, pass_fds=[fd], check=False
        )
    finally:
        os.close(fd)
    assert ended.returncode == code
    assert bool(ended.stdout) == (code == 0)


def test_a_link_in_the_place_of_a_directory_is_not_followed(levels: list[Path]) -> None:
    two, _, project = levels
    write(project / "real/f", "secret")
    (two / "link").symlink_to(project / "real")
    write(two / "folder/f", "new")
    with Tree(str(two)) as upper, Tree(str(project)) as lower:
        merged = Merged([upper, lower], 1, USER)
        ahead = LookAhead(merged, ["link", "folder"])
        try:
            found = ahead.take("", "folder")
            assert found is not None
            assert found[2][0]
            found = ahead.take("", "link")
            assert found is not None
            assert found[2] == [False, None]
        finally:
            ahead.close()


def test_a_copy_is_not_read_ahead(levels: list[Path]) -> None:
    class Derived(Tree):
        pass

    with Tree(str(levels[0])) as plain, Derived(str(levels[1])) as derived:
        assert can_look_ahead(Merged([plain, plain], 1, USER))
        assert not can_look_ahead(Merged([derived, plain], 1, USER))
        assert not can_look_ahead(Merged([plain] * 65, 1, USER))


def test_both_sides_mean_the_same_by_a_number() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    said = dict(re.findall(r"(\w+) = (-?\d+)", source))
    assert int(said["MOST_LEVELS"]) == lookahead.MOST_LEVELS
    assert int(said["NO_HIT"]) == lookahead._NO_HIT
    assert int(said["UNSEEN_HIT"]) == lookahead._UNSEEN_HIT
    assert int(said["UNLISTED"]) == lookahead._UNLISTED
    assert int(said["ENOENT_"]) == lookahead._ENOENT
