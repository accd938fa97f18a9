"""Projects and worlds on the file systems people have, and projects with mounts and quotas."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import calls, images
from tests.support.attack import host_view_bundle
from tests.support.calls import public_directory
from tests.support.desks import AT, FILES, Desk
from tests.support.features import requires
from tests.support.quotas import limit_user
from tests.support.spans import Session

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires("root", "overlayfs.stacked", *calls.LAYERED)

SCRIPT = "echo more >>a; rm d/c; mv d e; mkdir new; echo n >new/n; chmod 600 src/x.c"
LINES = ["~ a", "- d/c", "> d/ -> e/", "+ new/", "+ new/n", "m src/x.c"]
ACCEPTED = {
    "a": "one\nmore\n", "e/b": "two\n", "new/n": "n\n", "src/x.c": "x\n", "src/y.h": "y\n",
}  # fmt: skip


def each(*kinds: str) -> pytest.MarkDecorator:
    marked = [pytest.param(kind, marks=requires(f"file_system.{kind}")) for kind in kinds]
    return pytest.mark.parametrize("kind", marked)


@each("ext4", "xfs", "btrfs")
def test_a_project_on_its_own_file_system_is_changed_and_undone(
    runtime: Runtime, kind: str
) -> None:
    project = public_directory(runtime, "project")
    with images.mounted(runtime.folder, kind, project):
        desk = Desk(runtime, SCRIPT, project)
        assert desk.lines() == LINES
        desk("accept").ok()
        assert desk.files() == ACCEPTED
        assert (project / "src/x.c").stat().st_mode & 0o777 == 0o600
        desk("undo").ok()
        assert desk.files() == FILES
        assert sorted(os.listdir(project)) == ["a", "d", "src"]
        runtime("delete", "--force", "w").ok()


@each("ext4", "xfs", "btrfs")
def test_worlds_are_kept_on_any_file_system_that_can_be_the_upper_of_an_overlay(
    runtime: Runtime, kind: str
) -> None:
    with images.mounted(runtime.folder, kind, runtime.home):
        runtime.home.chmod(0o700)
        session = Session(runtime, FILES)
        session.span("one", "echo more >>a; mv d e").ok()
        session.span("two", "rm e/c; mkdir new; echo n >new/n").ok()
        assert session.lines("two") == ["- e/c", "+ new/", "+ new/n"]
        runtime("kill", "w", "KILL").ok()
        runtime("accept", "w").ok()
        assert (session.project / "e/b").read_text("utf-8") == "two\n"
        runtime("undo", "w").ok()
        assert (session.project / "d/c").read_text("utf-8") == "three\n"
        runtime("delete", "--force", "w").ok()


@each("vfat")
def test_a_file_system_without_what_an_overlay_needs_is_refused_by_name(
    runtime: Runtime, kind: str
) -> None:
    project = public_directory(runtime, "project")
    with images.mounted(runtime.folder, kind, project):
        (project / "a").write_text("one\n", "utf-8")
        bundle = host_view_bundle(runtime, substrate={"project": {"at": AT}})
        words = ("--bundle", bundle, "--project", project, "w", "sh", "-c", f"echo x >{AT}/a")
        refused = runtime("run", *words)
        assert refused.status in {1, 4}
        assert str(project) in refused.stderr
        assert "overlay" in refused.stderr
        assert runtime.worlds() == []
        assert (project / "a").read_text("utf-8") == "one\n"


def test_a_project_with_a_mount_in_it_gets_no_world_but_a_named_refusal(runtime: Runtime) -> None:
    project = public_directory(runtime, "project")
    (project / "inner").mkdir()
    (project / "a").write_text("one\n", "utf-8")
    bundle = host_view_bundle(runtime, substrate={"project": {"at": AT}})
    words = ("--bundle", bundle, "--project", project, "w", "true")
    subprocess.run(["mount", "-t", "tmpfs", "substrate-test", project / "inner"], check=True)
    try:
        refused = runtime("run", *words)
        assert refused.status == 5
        assert str(project / "inner") in refused.stderr
        assert runtime.worlds() == []
    finally:
        subprocess.run(["umount", project / "inner"], check=True)
    runtime("run", *words).ok()


def test_nothing_is_written_before_a_read_only_project_is_refused(runtime: Runtime) -> None:
    desk = Desk(runtime, SCRIPT)
    subprocess.run(["mount", "--bind", desk.project, desk.project], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", desk.project], check=True)
        before = sorted(os.listdir(desk.data / "accept")) if (desk.data / "accept").exists() else []
        refused = desk("accept")
        assert refused.status == 1
        assert f"changing {desk.project}: it cannot be written to" in refused.stderr
        assert "findmnt" in refused.stderr
        after = sorted(os.listdir(desk.data / "accept"))
        assert "pending" not in after, (before, after)
    finally:
        subprocess.run(["umount", desk.project], check=True)
    desk("accept").ok()


@requires("user_quotas", "rootless_user", "userns.unprivileged")
def test_an_accept_beyond_the_quota_of_its_user_is_refused_and_repeated_with_room(
    rootless_runtime: Runtime,
) -> None:
    runtime = rootless_runtime
    project = public_directory(runtime, "project")
    with images.mounted(runtime.folder, "ext4", project, "usrquota", ("-O", "quota")):
        os.chown(project, runtime.uid, runtime.gid)
        desk = Desk(runtime, "echo more >>a; head -c 3000000 /dev/urandom >large", project)
        limit_user(project, runtime.uid, 1 << 20)
        refused = desk("accept")
        assert refused.status == 1
        assert "quota" in refused.stderr.lower()
        assert desk.files() == FILES
        assert sorted(os.listdir(project)) == ["a", "d", "src"]
        limit_user(project, runtime.uid, 0)
        desk("accept").ok()
        assert (project / "large").stat().st_size == 3_000_000
        runtime("delete", "--force", "w").ok()
