"""What the layers of a world may take is limited by the file system, or refused."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from substrate.filesystem.space import used_space, why_unlimited
from tests.support import calls
from tests.support.features import requires
from tests.support.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)
MIB = 1 << 20
FILL = (
    "dd if=/dev/zero of=/work/big bs=64k count=64 2>&1 | grep -o 'quota exceeded'; du -k /work/big"
)


def limited(runtime: Runtime, *args: str, most: int = MIB, **changes: Any) -> Path:
    project = runtime.folder / "project"
    if not project.exists():
        calls.public_directory(runtime, "project").chmod(0o777)
    extension = {"project": {"path": str(project), "at": "/work"}, "limits": {"disk": most}}
    return runtime.bundle(*args, substrate=extension, **changes)


def test_where_it_cannot_be_kept_it_is_refused_and_allowed_by_name(any_runtime: Runtime) -> None:
    bundle = limited(any_runtime, "true")
    if not why_unlimited(str(any_runtime.home)) and not any_runtime.is_rootless:
        pytest.skip("it can be kept here")
    refused(
        any_runtime, "run", "--bundle", bundle, "w",
        status=4, says="the limit disk cannot be enforced", hint="--allow-degraded limit.disk",
    )  # fmt: skip
    any_runtime("--allow-degraded", "limit.disk", "run", "--bundle", bundle, "w").ok()


def test_world_without_layers_has_nothing_to_limit(any_runtime: Runtime) -> None:
    bundle = any_runtime.bundle("true", substrate={"limits": {"disk": MIB}})
    refused(any_runtime, "run", "--bundle", bundle, "w", status=4, says="the world has none")


@pytest.fixture
def on_quotas(runtime: Runtime) -> Iterator[Runtime]:
    """The runtime with its directories on a file system that keeps project quotas."""
    image = runtime.folder / "image"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "project,quota", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(runtime.home)], check=True)
    os.rmdir(runtime.home / "lost+found")
    runtime.home.chmod(0o700)
    yield runtime
    for world in runtime.worlds():
        runtime("delete", "--force", world).ok()
    subprocess.run(["umount", str(runtime.home)], check=True)


needs_quotas = requires("root", "project_quotas", *calls.LAYERED)


@needs_quotas
@pytest.mark.parametrize("own_ids", [True, False])
def test_write_beyond_the_limit_fails_and_the_world_goes_on(
    on_quotas: Runtime, own_ids: bool
) -> None:
    shared = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]
    plain = {"namespaces": shared, "uidMappings": None, "gidMappings": None}
    changes: dict[str, Any] = {} if own_ids else {"linux": plain}
    bundle = limited(on_quotas, "sh", "-c", f"{FILL}; echo on", **changes)
    done = on_quotas("run", "--keep", "--bundle", bundle, "w").ok()
    said, size, *_, last = done.stdout.split("\n")[0], done.stdout.split()[2], *done.stdout.split()
    assert said == "quota exceeded"
    assert 512 <= int(size) <= 1024
    assert last == "on"
    assert "disk: the layers take" in done.stderr
    assert on_quotas("diff", "--name-status", "w").ok().stdout == "A\tbig\n"
    # What is not limited is not: the same world without the limit.
    bundle = limited(on_quotas, "sh", "-c", f"{FILL}; echo on", most=40 * MIB, **changes)
    free = on_quotas("run", "--bundle", bundle, "free").ok()
    assert free.stdout.split() == ["4096", "/work/big", "on"]
    assert free.stderr == ""


@needs_quotas
@requires("overlayfs.stacked")
def test_layers_of_spans_are_counted_together_and_the_limit_goes_with_the_world(
    on_quotas: Runtime,
) -> None:
    bundle = limited(on_quotas, "sleep", "600")
    on_quotas("run", "--idle", "--detach", "--bundle", bundle, "w").ok()
    one = "dd if=/dev/zero of=/work/{} bs=64k count=10 2>&1 | tail -n 1"
    for name in ("one", "two"):
        on_quotas("exec", "--span", name, "w", "sh", "-c", one.format(name))
    data = str(on_quotas.home / "data/w")
    used, limit = used_space(data) or (0, 0)
    # Nor does a layer that is dropped take the limit of all of them along.
    on_quotas("exec", "--span", "three", "w", "true").ok()
    on_quotas("rollback", "w", "two").ok()
    assert limit == (used_space(data) or (0, 0))[1] == MIB
    assert 900_000 < used <= MIB
    sizes = on_quotas("exec", "w", "sh", "-c", "stat -c %s /work/one /work/two").ok()
    assert int(sizes.stdout.split()[1]) < int(sizes.stdout.split()[0]) == 10 << 16
    on_quotas("delete", "--force", "w").ok()
    # Made again, the same directory has no limit of before.
    bundle = limited(on_quotas, "sh", "-c", FILL, most=40 * MIB)
    assert "quota" not in on_quotas("run", "--bundle", bundle, "w").ok().stdout


@needs_quotas
def test_changes_leave_a_limited_world_and_come_back_to_it(on_quotas: Runtime) -> None:
    project = on_quotas.home / "project"
    project.mkdir()
    (project / "old").write_text("old\n", "utf-8")
    for path, mode in ((project, 0o777), (project / "old", 0o666)):
        path.chmod(mode)
    script = "cd /work; echo new >new; echo more >>old"
    bundle = limited(on_quotas, "sh", "-c", script)
    on_quotas("run", "--keep", "--bundle", bundle, "--project", project, "w").ok()
    before = on_quotas("diff", "w").ok().stdout
    on_quotas("accept", "w").ok()
    assert (project / "old").read_text("utf-8") == "old\nmore\n"
    assert on_quotas("diff", "w").ok().stdout == ""
    on_quotas("undo", "w").ok()
    assert (project / "old").read_text("utf-8") == "old\n"
    assert on_quotas("diff", "w").ok().stdout == before
    assert sorted(path.name for path in on_quotas.home.iterdir()) == [
        "cache", "data", "project", "state",
    ]  # fmt: skip
