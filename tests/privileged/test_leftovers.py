"""gc removes what an interrupted call has left, and nothing that belongs to anybody."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls, injection
from tests.support.examples import examples
from tests.support.features import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)
SLEEP = ("sleep", "600")


def layered(runtime: Runtime, *args: str) -> Path:
    project = runtime.folder / "project"
    if not project.exists():
        calls.public_directory(runtime, "project").chmod(0o777)
    return runtime.bundle(*args, substrate={"project": {"path": str(project), "at": "/work"}})


def kept(runtime: Runtime) -> list[str]:
    return sorted(
        str(path.relative_to(runtime.home))
        for part in ("state", "data")
        for path in (runtime.home / part).rglob("*")
    )


def gc(runtime: Runtime, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = runtime("gc", "--json", *words).ok().json()
    return found


KILLED: dict[str, tuple[tuple[str, ...], int]] = {
    "create": (("create", "-b", "BUNDLE", "w"), 12),
    "run": (("run", "-b", "BUNDLE", "w"), 12),
    "run detached": (("run", "--detach", "-b", "BUNDLE", "w"), 8),
    "delete": (("delete", "--force", "w"), 8),
}


@requires("strace", "overlayfs.idmapped")
@pytest.mark.parametrize("what", KILLED)
def test_after_a_kill_at_any_step_a_world_is_whole_or_gone(runtime: Runtime, what: str) -> None:
    template, usual = KILLED[what]
    samples = examples(usual)
    args = ("true",) if what == "run" else SLEEP
    bundle = layered(runtime, *args)
    words = [str(bundle) if word == "BUNDLE" else word for word in template]

    def prepare() -> None:
        if what == "delete":
            runtime("run", "--detach", "-b", bundle, "w").ok()

    prepare()
    steps = injection.steps_of(runtime, runtime.folder / "trace", *words)
    runtime("delete", "--force", "w").ok()
    for step in [*steps[:: max(1, len(steps) // samples)], steps[-1]]:
        prepare()
        injection.traced(runtime, runtime.folder / "trace", step, *words)
        calls.until(lambda: not _is_on_its_way(runtime), "the world has settled")
        listed = gc(runtime, "--dry-run")
        before = kept(runtime)
        done = gc(runtime)
        assert [entry["path"] for entry in done] == [entry["path"] for entry in listed], step
        assert {entry["outcome"] for entry in done} <= {"removed"}, step
        assert gc(runtime) == []
        if not runtime.worlds():
            assert kept(runtime) == [], f"killed at call {step} of {what}"
            continue
        # Whole: everything it had is there, and its own verbs work on it.
        assert done or before == kept(runtime), step
        status = calls.state(runtime, "w")["status"]
        assert status in ("created", "running", "stopped"), step
        runtime("delete", "--force", "w").ok()
        assert kept(runtime) == [], step


def _is_on_its_way(runtime: Runtime) -> bool:
    """Whether a process that lost its runtime has not noticed yet."""
    if not (runtime.home / "state/w/state.json").exists():
        return False
    state = calls.state(runtime, "w")
    waits = (runtime.home / "state/w/gate").exists()
    if state["status"] != "created" or waits or not calls.is_running(state["pid"]):
        return False
    # Unless it went through its gate before the kill: then it is at its work.
    return calls.text_of_command(state["pid"]) != list(SLEEP)


def test_whole_worlds_and_their_changes_stay(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle(*SLEEP)
    any_runtime("create", "-b", bundle, "created").ok()
    any_runtime("run", "--detach", "-b", bundle, "running").ok()
    any_runtime("run", "--keep", "-b", any_runtime.bundle("true"), "kept").ok()
    any_runtime("run", "--detach", "-b", bundle, "ended").ok()
    any_runtime("kill", "ended", "KILL").ok()
    calls.until_stopped(any_runtime, "ended")
    before = kept(any_runtime)
    assert any_runtime("gc").ok().stdout == ""
    assert kept(any_runtime) == before
    assert any_runtime.worlds() == ["created", "ended", "kept", "running"]


def test_what_is_half_made_goes_and_is_only_listed_by_a_dry_run(any_runtime: Runtime) -> None:
    calls.create(any_runtime, "whole", *SLEEP)
    home = any_runtime.home
    claimed = home / "state/claimed"
    temporary = home / "state/whole/.state.json.new"
    for path, act in ((claimed, claimed.mkdir), (temporary, temporary.touch)):
        act()
        os.chown(path, any_runtime.uid, any_runtime.gid)
    told = any_runtime("gc", "--dry-run").ok().stdout
    assert f"would remove: world {claimed} " in told
    assert f"would remove: file {temporary} " in told
    assert f"\n  rm {temporary}\n" in told
    assert claimed.exists()
    assert temporary.exists()
    told = any_runtime("gc").ok().stdout
    assert f"removed: world {claimed} " in told
    assert not claimed.exists()
    assert not temporary.exists()
    assert any_runtime.worlds() == ["whole"]
    assert any_runtime("gc").ok().stdout == ""


@requires(*calls.LAYERED)
def test_changes_of_a_lost_world_stay_until_they_are_asked_for(runtime: Runtime) -> None:
    bundle = layered(runtime, "sh", "-c", "echo dear > /work/file")
    runtime("run", "--keep", "-b", bundle, "w").ok()
    runtime("run", "--keep", "-b", layered(runtime, "true"), "unchanged").ok()
    for world in ("w", "unchanged"):
        for path in (runtime.home / f"state/{world}").iterdir():
            path.unlink()
        (runtime.home / f"state/{world}").rmdir()
    assert {entry["path"]: entry["outcome"] for entry in gc(runtime)} == {
        f"{runtime.home}/data/w": "kept",
        f"{runtime.home}/data/unchanged": "removed",
    }
    (upper,) = (runtime.home / "data/w").rglob("upper")
    assert (upper / "file").read_text("utf-8") == "dear\n"
    assert [entry["outcome"] for entry in gc(runtime, "--layers")] == ["removed"]
    assert kept(runtime) == []


@requires(*calls.LAYERED)
def test_layers_of_another_state_root_are_not_even_listed(runtime: Runtime) -> None:
    runtime("run", "--keep", "-b", layered(runtime, "true"), "w").ok()
    other = runtime.folder / "other"
    other.mkdir()
    # Two state roots with one data directory, as with and without XDG_RUNTIME_DIR.
    (other / "data").symlink_to(runtime.home / "data")
    done = runtime("gc", "--layers", env={"SUBSTRATE_HOME": str(other)})
    assert f"{runtime.home}" not in done.stdout
    assert (runtime.home / "data/w").exists()
    (other / "data").unlink()
    (runtime.home / "data/w/owner").unlink()
    (runtime.home / "state/w").rename(runtime.folder / "elsewhere")
    assert [entry["outcome"] for entry in gc(runtime, "--layers")] == ["kept"]
    (runtime.folder / "elsewhere").rename(runtime.home / "state/w")


def test_directory_that_is_not_ours_in_kind_stays(runtime: Runtime) -> None:
    calls.create(runtime, "w", *SLEEP)
    mine = runtime.home / "state/notes"
    mine.mkdir()
    (mine / "text").write_text("dear", "utf-8")
    damaged = runtime.home / "state/damaged"
    damaged.mkdir()
    (damaged / "state.json").write_text("{", "utf-8")
    (found,) = gc(runtime)
    assert (found["path"], found["outcome"]) == (str(damaged), "kept")
    assert "delete --force damaged" in found["command"]
    runtime("delete", "--force", "damaged").ok()
    assert (mine / "text").exists()
    (mine / "text").unlink()
    mine.rmdir()


def test_gc_beside_creation_and_deletion_harms_nobody(runtime: Runtime) -> None:
    bundle = layered(runtime, "true")
    argv, environment = calls.bare(runtime)
    sweeping = "while :; do " + " ".join([*argv, "gc"]) + " || exit 9; done"
    sweeper = subprocess.Popen(
        ["sh", "-c", sweeping], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        for number in range(25):
            runtime("create", "-b", bundle, f"c{number}").ok()
            runtime("start", f"c{number}").ok()
            runtime("run", "-b", bundle, f"r{number}").ok()
            runtime("delete", "--force", f"c{number}").ok()
        assert sweeper.poll() is None
    finally:
        os.killpg(sweeper.pid, signal.SIGKILL)
        told, _ = sweeper.communicate()
    # One that was claimed and not locked yet is made anew by whoever claimed it.
    assert all(b"before the world had a state" in line for line in told.splitlines()), told
    assert kept(runtime) == []
