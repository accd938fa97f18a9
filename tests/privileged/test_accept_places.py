"""Accept where the project is on another file system, full, read-only, or not there any more."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.desks import FILES, Desk
from tests.support.features import requires
from tests.support.mounts import tmpfs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires("root", *calls.LAYERED)

SCRIPT = "echo more >>a; rm d/c; mv d e; mkdir new; echo n >new/n; ln new/n new/m"
ACCEPTED = {
    "a": "one\nmore\n", "e/b": "two\n", "new/n": "n\n", "new/m": "n\n",
    "src/x.c": "x\n", "src/y.h": "y\n",
}  # fmt: skip


def ours(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if "substrate" in path.name]


@pytest.mark.parametrize("is_mount", [False, True], ids=["below a mount", "a mount itself"])
def test_a_project_on_another_file_system_is_changed_and_undone(
    runtime: Runtime, is_mount: bool
) -> None:
    with tmpfs("size=8m") as place:
        project = place if is_mount else place / "project"
        project.mkdir(exist_ok=True)
        desk = Desk(runtime, SCRIPT, project)
        desk("accept").ok()
        assert desk.files() == ACCEPTED
        assert (project / "new/n").stat().st_ino == (project / "new/m").stat().st_ino
        assert ours(place) == []
        assert desk.lines() == []
        desk("undo").ok()
        assert desk.files() == FILES
        assert ours(place) == []
        runtime("delete", "w").ok()


def test_two_accepts_on_another_file_system_are_undone_one_after_the_other(
    runtime: Runtime,
) -> None:
    with tmpfs("size=8m") as place:
        desk = Desk(runtime, SCRIPT + "; echo z >src/z", place)
        desk("accept", "a").ok()
        desk("accept").ok()
        assert desk.files() == ACCEPTED | {"src/z": "z\n"}
        desk("undo").ok()
        assert desk.files() == FILES | {"a": "one\nmore\n"}
        desk("undo").ok()
        assert desk.files() == FILES
        runtime("delete", "w").ok()


def test_a_full_file_system_leaves_the_project_as_it_was(runtime: Runtime) -> None:
    with tmpfs("size=256k") as place:
        desk = Desk(runtime, "echo more >>a; head -c 1000000 /dev/zero | tr '\\0' x >big", place)
        refused = desk("accept")
        assert refused.status == 1
        assert "No space left on device" in refused.stderr
        assert desk.files() == FILES
        assert ours(place) == []
        desk("accept", "a").ok()
        assert desk.files() == FILES | {"a": "one\nmore\n"}
        runtime("delete", "w").ok()


def test_a_project_without_inodes_left_is_as_it_was(runtime: Runtime) -> None:
    with tmpfs("size=8m,nr_inodes=24") as place:
        desk = Desk(runtime, "for i in $(seq 30); do echo $i >f$i; done; rm a", place)
        refused = desk("accept")
        assert refused.status == 1
        assert "No space left on device" in refused.stderr
        assert desk.files() == FILES
        assert ours(place) == []
        runtime("delete", "w").ok()


def test_a_read_only_project_is_told_by_name(runtime: Runtime) -> None:
    with tmpfs("size=8m") as place:
        desk = Desk(runtime, SCRIPT, place)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        refused = desk("accept")
        assert refused.status == 1
        assert "cannot be written to" in refused.stderr or "Read-only" in refused.stderr
        assert desk.files() == FILES
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        desk("accept").ok()
        assert desk.files() == ACCEPTED
        runtime("delete", "w").ok()


def test_a_read_only_bind_mount_of_the_project_is_told_by_name(runtime: Runtime) -> None:
    desk = Desk(runtime, SCRIPT)
    subprocess.run(["mount", "--bind", desk.project, desk.project], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", desk.project], check=True)
        refused = desk("accept")
        assert refused.status == 1
        assert desk.files() == FILES
    finally:
        subprocess.run(["umount", desk.project], check=True)
    desk("accept").ok()
    assert desk.files() == ACCEPTED


def test_a_project_that_was_replaced_is_refused(any_runtime: Runtime) -> None:
    desk = Desk(any_runtime, SCRIPT)
    desk("accept", "a").ok()
    aside = desk.project.with_name("aside")
    desk.project.rename(aside)
    desk.project.mkdir()
    os.chown(desk.project, any_runtime.uid, any_runtime.gid)
    (desk.project / "a").write_text("another project\n", "utf-8")
    for verb in ("accept", "undo"):
        refused = desk(verb, "--theirs")
        assert refused.status in {1, 5}
        assert "is not the directory" in refused.stderr
    assert desk.files() == {"a": "another project\n"}
    (desk.project / "a").unlink()
    desk.project.rmdir()
    refused = desk("accept")
    assert refused.status == 1
    assert "is gone" in refused.stderr
    aside.rename(desk.project)
    desk("accept").ok()
    assert desk.files() == ACCEPTED


def test_another_mount_inside_the_project_is_refused(runtime: Runtime) -> None:
    desk = Desk(runtime, "echo x >src/new")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", desk.project / "src"], check=True)
    try:
        refused = desk("accept")
        assert refused.status in {4, 6}
        assert os.listdir(desk.project / "src") == []
    finally:
        subprocess.run(["umount", desk.project / "src"], check=True)
    desk("accept").ok()
    assert desk.files() == FILES | {"src/new": "x\n"}
