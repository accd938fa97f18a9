"""Another user of the host: prepared directories, planted links, poisoned caches, odd ids."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from tests.support import attack
from tests.support.attack import ATTACK, DEFAULT_FILTER
from tests.support.calls import is_running
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = [requires(*ATTACK), requires("root")]

STRANGER = 4242


def _run(runtime: Runtime, home: Path | None = None) -> str:
    """Run a world that does nothing; return what went wrong, or ""."""
    bundle = runtime.bundle("true", substrate=DEFAULT_FILTER)
    env = {} if home is None else {"SUBSTRATE_HOME": str(home)}
    result = runtime("run", "--bundle", bundle, "w", env=env)
    return "" if result.status == 0 else attack.text_of_refusal(result)


@pytest.mark.parametrize("name", ["state", "cache"])
def test_a_directory_that_somebody_else_made_is_refused(runtime: Runtime, name: str) -> None:
    planted = runtime.home / name
    planted.mkdir(mode=0o700)
    os.chown(planted, STRANGER, STRANGER)
    assert f"belongs to uid {STRANGER}" in _run(runtime)
    os.chown(planted, runtime.uid, runtime.gid)
    assert _run(runtime) == ""


@pytest.mark.parametrize("name", ["state", "cache"])
def test_a_link_in_place_of_a_directory_is_refused(runtime: Runtime, name: str) -> None:
    own = runtime.folder / "own"
    own.mkdir(mode=0o700)
    link = runtime.home / name
    link.symlink_to(own)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert _run(runtime)
    assert os.listdir(own) == []
    link.unlink()
    assert _run(runtime) == ""


@pytest.mark.parametrize("place", ["home", "home/state", ""])
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_place_that_others_can_write_to_is_refused(
    runtime: Runtime, place: str, mode: int
) -> None:
    assert _run(runtime) == ""
    directory = runtime.folder / place
    before = os.stat(directory)
    os.chown(directory, runtime.uid, STRANGER)
    directory.chmod(mode)
    refusal = _run(runtime)
    os.chown(directory, before.st_uid, before.st_gid)
    directory.chmod(stat.S_IMODE(before.st_mode))
    assert "can be changed by other users" in refusal
    assert _run(runtime) == ""


def test_a_filter_that_somebody_else_compiled_is_not_used(runtime: Runtime) -> None:
    # The cached filter is replaced by one that allows everything, with every mark but the owner,
    # and then by the owner without the mark.
    assert _run(runtime) == ""
    (entry,) = (runtime.home / "cache/seccomp").iterdir()
    genuine = entry.read_bytes()
    allow_all = b"\x06\x00\x00\x00\x00\x00\xff\x7f"
    probe = runtime.bundle("grep", "Seccomp:", "/proc/self/status", substrate=DEFAULT_FILTER)
    for content, owner, mode in (
        (genuine[:-8] + allow_all, runtime.uid, 0o600),
        (genuine[: len(genuine) // 2], runtime.uid, 0o600),
        (b"", runtime.uid, 0o600),
        (genuine, STRANGER, 0o600),
        (genuine, runtime.uid, 0o622),
    ):
        entry.write_bytes(content)
        os.chown(entry, owner, owner)
        entry.chmod(mode)
        assert runtime("run", "--bundle", probe, "p").ok().stdout == "Seccomp:\t2\n"
        assert (entry.read_bytes(), entry.stat().st_uid) == (genuine, runtime.uid)


def test_planted_links_are_not_written_through(runtime: Runtime) -> None:
    shared, victim = runtime.folder / "shared", runtime.folder / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.write_text("precious", encoding="utf-8")
    for name in ("pid", "log", *(f".pid.{number}" for number in range(os.getpid(), 2**15, 7))):
        (shared / name).symlink_to(victim)
    bundle = runtime.bundle("sleep", "60")
    words = ("run", "--detach", "--pid-file", shared / "pid", "--bundle", bundle, "w")
    logged = runtime("--log", shared / "log", *words)
    assert logged.status != 0
    assert victim.read_text("utf-8") == "precious"
    # The pid file's own name is replaced, not followed; a temporary one that waits is an error.
    result = runtime(*words)
    assert victim.read_text("utf-8") == "precious"
    if result.status == 0:
        assert is_running(int((shared / "pid").read_text("ascii")))
        assert not (shared / "pid").is_symlink()
    plain = runtime.folder / "plain.pid"
    words = ("run", "--detach", "--pid-file", plain, "--bundle", bundle, "x")
    runtime(*words).ok()
    assert is_running(int(plain.read_text("ascii")))


@pytest.mark.parametrize("world_id", [
    "../x", "..", ".", "", "a/b", "/etc", "a\nb", "a b", "\x1b[31m", "é", "x" * 5000, "a\\b", "~",
    "$(id)", "*", "a:b", "a,b",
])  # fmt: skip
def test_an_id_is_never_a_path(runtime: Runtime, world_id: str) -> None:
    (runtime.folder / "x").mkdir()
    bundle = runtime.bundle("true")
    for words in (
        ("run", "--bundle", bundle, world_id),
        ("create", "--bundle", bundle, world_id),
        ("delete", "--force", world_id),
        ("state", world_id),
        ("kill", world_id, "KILL"),
        ("exec", world_id, "true"),
        ("diff", world_id),
    ):
        result = runtime(*words)
        assert result.status in (1, 2), result
        assert "\x1b" not in result.stderr
    assert (runtime.folder / "x").is_dir()
    state = runtime.home / "state"
    assert not state.exists() or os.listdir(state) == []


def test_a_removed_world_takes_nothing_else_with_it(runtime: Runtime) -> None:
    # A payload fills its layer with links to what is not its own.
    outside, project = runtime.folder / "outside", runtime.folder / "project"
    for folder in (outside, project):
        folder.mkdir()
    (outside / "kept").write_text("kept", encoding="utf-8")
    (outside / "kept").chmod(0o400)
    script = f"""
    for target in {outside} {outside}/kept / .. /etc; do ln -s $target "link$((n+=1))"; done
    mkdir -m 0 locked; mkdir deep; cd deep; for i in $(seq 200); do mkdir d; cd d; done
    """
    words = ("run", "--keep", "--bundle", "host-project", "--project", project, "w")
    runtime(*words, "bash", "-c", script).ok()
    runtime("delete", "w").ok()
    assert (outside / "kept").read_text("utf-8") == "kept"
    assert stat.S_IMODE((outside / "kept").stat().st_mode) == 0o400
    assert os.listdir(project) == []
    shutil.rmtree(outside)


@pytest.mark.parametrize(
    "words",
    [("list",), ("state", "w"), ("delete", "--force", "w"), ("kill", "w"), ("gc",), ("ps", "w"),
     ("run", "--bundle", "busybox", "w", "true")],
)  # fmt: skip
def test_worlds_of_another_user_are_told_as_such(
    rootless_runtime: Runtime, words: tuple[str, ...]
) -> None:
    theirs = rootless_runtime.folder / "theirs"
    theirs.mkdir(mode=0o700)
    root = theirs / "state"
    root.mkdir(mode=0o700)
    result = rootless_runtime("--root", root, *words)
    assert result.status == 5, result
    assert f"cannot use {root} for worlds as uid {rootless_runtime.uid}" in result.stderr
    assert "--root or SUBSTRATE_HOME" in result.stderr
    assert "--debug" not in result.stderr
