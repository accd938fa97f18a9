from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from substrate.errors import RefusedError, SubstrateError, UsageError
from substrate.world.context import find_directories, prepare_directory
from substrate.world.kill import signal_number
from substrate.world.pidfile import write_pid_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_root_given_has_its_data_beside_it() -> None:
    found = find_directories("/run/engine/w", {"SUBSTRATE_HOME": "/home"})
    assert found == ("/run/engine/w", "/run/engine/w-data", "/home/cache")


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_directories("x", {"SUBSTRATE_HOME": "h"}) == (
        str(tmp_path / "x"), str(tmp_path / "x-data"), str(tmp_path / "h/cache"),
    )  # fmt: skip


def test_one_directory_can_hold_everything() -> None:
    assert find_directories(None, {"SUBSTRATE_HOME": "/s"}) == ("/s/state", "/s/data", "/s/cache")


def test_root_uses_the_systems_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = find_directories(None, {"HOME": "/root", "XDG_DATA_HOME": "/elsewhere"})
    assert found == ("/run/substrate", "/var/lib/substrate", "/var/cache/substrate")
    # An engine's call has no environment at all.
    assert find_directories(None, {}) == found


def test_an_ordinary_user_has_directories_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    environment = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert find_directories(None, environment) == (
        str(tmp_path / "substrate"),
        "/home/ada/.local/share/substrate",
        "/home/ada/.cache/substrate",
    )
    environment |= {"XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c"}
    assert find_directories(None, environment)[1:] == ("/d/substrate", "/c/substrate")


def test_without_a_session_the_state_is_in_tmp_and_kept_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert find_directories(None, {"HOME": "/h"})[0] == "/tmp/substrate-4242"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_001)
    with pytest.raises(UsageError, match="has no home directory") as caught:
        find_directories(None, {})
    assert "SUBSTRATE_HOME" in caught.value.hint


def test_a_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "a/b"
    prepare_directory(str(path))
    prepare_directory(str(path))
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(RefusedError, match="can be changed by other users") as caught:
        prepare_directory(str(path))
    assert caught.value.hint == f"chmod go-w {path}"


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(RefusedError, match=f"belongs to uid {owner}, not to uid {owner + 1}"):
        prepare_directory(str(path))


@pytest.mark.parametrize(("mode", "accepted"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_nobody_else_may_put_another_directory_in_its_place(
    tmp_path: Path, mode: int, accepted: bool
) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    parent.chmod(mode)
    if accepted:
        prepare_directory(str(parent / "ours"))
        return
    with pytest.raises(RefusedError, match=f"{parent} can be changed by other users"):
        prepare_directory(str(parent / "ours"))


def test_a_link_is_no_directory_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(RefusedError):
        prepare_directory(str(tmp_path / "link"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigterm", 15), ("15", 15), ("9", 9),
        ("0", 0), ("64", 64), ("RTMIN", signal.SIGRTMIN), ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("rtmin+30", 64), ("CHLD", 17), ("SIGCLD", 17), ("USR1", 10),
    ],
)  # fmt: skip
def test_a_signal_has_a_number_or_a_name(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "SIG", "65", "-1", "15 ", "TERMINATE", "SIG_DFL", "_DFL", "_IGN", "_BLOCK", "SIG_BLOCK",
     "RTMIN+", "RTMIN+31", "RTMIN+x", "TERM+1", "\u0661\u0665", "1e1", "0x9", "SIGSIGTERM", "NSIG"],
)  # fmt: skip
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="unknown signal"):
        signal_number(text)


def test_a_pid_file_is_decimal_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("an older one, which is longer", encoding="ascii")
    write_pid_file(str(path), 4711)
    assert path.read_text(encoding="ascii") == "4711"
    assert os.listdir(tmp_path) == ["pid"]


def test_a_pid_file_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pid_file("pid", 1)
    assert (tmp_path / "pid").read_text(encoding="ascii") == "1"


def test_a_pid_file_that_cannot_be_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/full").touch()
    for path in (tmp_path / "missing/pid", tmp_path / "directory"):
        with pytest.raises(SubstrateError, match=f"cannot write the pid file {path}: "):
            write_pid_file(str(path), 1)
    assert sorted(os.listdir(tmp_path)) == ["directory"]


def test_a_link_that_waits_for_us_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "in").mkdir()
    (tmp_path / f"in/.pid.{os.getpid()}").symlink_to(outside)
    with pytest.raises(SubstrateError, match="File exists"):
        write_pid_file(str(tmp_path / "in/pid"), 1)
    assert not outside.exists()
