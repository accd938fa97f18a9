"""Worlds of an ordinary user: id maps, the project, what the user may and may not have."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.features import TEST_USER, requires

if TYPE_CHECKING:
    from tests.support.runtime import Runtime

pytestmark = requires(*calls.LAYERED, "rootless_user", "userns.unprivileged")

HOST_PROJECT = ("run", "--keep", "--bundle", "host-project", "--project")


def subordinate(name: str) -> tuple[int, int]:
    """Return first id and size of the user's range in /etc/subuid or /etc/subgid."""
    for line in Path(f"/etc/{name}").read_text("ascii").splitlines():
        user, first, size = line.split(":")
        if user == TEST_USER:
            return int(first), int(size)
    pytest.fail(f"{TEST_USER} has no range in /etc/{name}")


def mapping(first: int, size: int) -> list[dict[str, int]]:
    """Return an id map of 0 and up."""
    return [{"containerID": 0, "hostID": first, "size": size}]


def ranged(runtime: Runtime) -> dict[str, Any]:
    """Return id maps over the user's own ids: its uid as 0, its range from 1 on."""
    maps: dict[str, Any] = {}
    for key, name, own in (
        ("uidMappings", "subuid", runtime.uid),
        ("gidMappings", "subgid", runtime.gid),
    ):
        first, size = subordinate(name)
        rest = {"containerID": 1, "hostID": first, "size": size}
        maps[key] = [*mapping(own, 1), rest]
    return maps


def test_payload_is_never_more_than_its_user_outside(rootless_runtime: Runtime) -> None:
    world = calls.run_detached(rootless_runtime, "w", "sleep", "600")
    for pid in rootless_runtime("ps", "--format", "json", "w").ok().json():
        status = Path(f"/proc/{pid}/status").read_text("ascii")
        ids = next(line for line in status.splitlines() if line.startswith("Uid")).split()[1:]
        assert set(ids) == {str(rootless_runtime.uid)}
    assert world["owner"] == TEST_USER


@requires("newuidmap")
def test_range_of_the_user_is_mapped_from_0_on(rootless_runtime: Runtime) -> None:
    first, size = subordinate("subuid")
    group, groups = subordinate("subgid")
    linux = {"uidMappings": mapping(first, size), "gidMappings": mapping(group, groups)}
    bundle = rootless_runtime.bundle("sleep", "600", linux=linux)
    rootless_runtime("run", "--detach", "--bundle", bundle, "w").ok()
    pid = calls.state(rootless_runtime, "w")["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text("ascii").split() == ["0", str(first), str(size)]
    assert Path(f"/proc/{pid}/gid_map").read_text("ascii").split() == ["0", str(group), str(groups)]
    assert os.stat(f"/proc/{pid}").st_uid == first
    script = "id -u; touch /tmp/file && stat -c %u /tmp/file"
    assert rootless_runtime("exec", "w", "sh", "-c", script).ok().stdout.split() == ["0", "0"]


@requires("newuidmap")
def test_any_user_of_the_range_can_be_the_payload(rootless_runtime: Runtime) -> None:
    process = {"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]}}
    script = "id -u; id -g; id -G; touch /tmp/file && stat -c %u:%g /tmp/file"
    lines = calls.in_world(
        rootless_runtime, script, linux=ranged(rootless_runtime), process=process
    ).splitlines()
    assert lines == ["5", "6", "6 7 8", "5:6"]


@requires("newuidmap")
def test_privileges_are_dropped_inside_with_the_capabilities_for_it(
    rootless_runtime: Runtime,
) -> None:
    bundle = rootless_runtime.bundle(linux=ranged(rootless_runtime))
    options = ("--cap", "CAP_SETUID", "--cap", "CAP_SETGID", "--cap", "CAP_CHOWN")
    script = "touch /tmp/file && chown 9:9 /tmp/file && stat -c %u /tmp/file"
    done = rootless_runtime("run", *options, "--bundle", bundle, "w", "sh", "-c", script).ok()
    assert done.stdout == "9\n"


@requires("newuidmap")
def test_ids_of_others_cannot_be_mapped(rootless_runtime: Runtime) -> None:
    for first in (0, subordinate("subuid")[0] + subordinate("subuid")[1]):
        linux = {"uidMappings": mapping(first, 2), "gidMappings": mapping(first, 2)}
        done = rootless_runtime("run", "-b", rootless_runtime.bundle("true", linux=linux), "w")
        assert done.status == 1
        assert "cannot write the id maps" in done.stderr
        assert "/etc/subuid" in done.stderr
        assert rootless_runtime.worlds() == []


def test_world_without_a_user_namespace_is_refused(rootless_runtime: Runtime) -> None:
    namespaces = [{"type": kind} for kind in ("mount", "pid", "uts")]
    linux = {"namespaces": namespaces, "uidMappings": None, "gidMappings": None}
    done = rootless_runtime("run", "--bundle", rootless_runtime.bundle("true", linux=linux), "w")
    assert done.status == 4, done
    assert "without root, a user namespace is needed" in done.stderr


def test_groups_of_a_single_id_map_are_refused(rootless_runtime: Runtime) -> None:
    process = {"user": {"uid": 0, "gid": 0, "additionalGids": [0]}}
    done = rootless_runtime("run", "-b", rootless_runtime.bundle("true", process=process), "w")
    # Either kept as it was before, or an error; never silently another set.
    assert done.status in {0, 1, 4}
    assert done.status == 0 or "group" in done.stderr


def test_layers_of_a_project_are_its_users_own(rootless_runtime: Runtime) -> None:
    project = calls.public_directory(rootless_runtime, "project")
    for name in ("kept", "removed"):
        (project / name).write_text("lower\n", encoding="utf-8")
        os.chown(project / name, rootless_runtime.uid, rootless_runtime.gid)
    script = "id -u; stat -c %u kept; echo >> kept; rm removed; mkdir new; touch new/file"
    done = rootless_runtime(*HOST_PROJECT, project, "w", "sh", "-c", script).ok()
    assert done.stdout.split() == [str(rootless_runtime.uid)] * 2
    state = calls.state(rootless_runtime, "w")["substrate"]["project"]
    assert state["userxattr"] is True
    upper = Path(state["layer"]) / "upper"
    assert {path.name for path in upper.iterdir()} == {"kept", "removed", "new"}
    assert stat.S_ISCHR(os.lstat(upper / "removed").st_mode)
    owners = {os.lstat(path).st_uid for path in (upper / "kept", upper / "new/file")}
    assert owners == {rootless_runtime.uid}
    diff = rootless_runtime("diff", "--json", "w").ok().json()
    assert (diff["mods"], diff["deletes"]) == (["kept"], ["removed"])
    assert {path.rstrip("/") for path in diff["writes"]} == {"new", "new/file"}
    assert (project / "removed").read_text("utf-8") == "lower\n"


def test_state_and_layers_are_closed_to_others(any_runtime: Runtime) -> None:
    project = calls.public_directory(any_runtime, "project")
    any_runtime(*HOST_PROJECT, project, "w", "sh", "-c", "echo > made").ok()
    for kept in ("state", "state/w", "data", "data/w", "data/w/layer"):
        path = any_runtime.home / kept
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, kept
        assert os.stat(path).st_uid == any_runtime.uid


def test_world_of_another_user_is_not_touched(runtime: Runtime, rootless_runtime: Runtime) -> None:
    runtime.folder.chmod(0o755)
    calls.run_detached(runtime, "w", "sleep", "600")
    # Root's directory is closed to the user, who cannot even learn whether there is a world.
    for verb in ("state", "kill", "delete"):
        done = rootless_runtime("--root", runtime.home / "state", verb, "w")
        assert done.status != 0
    assert calls.state(runtime, "w")["status"] == "running"


def test_root_deletes_what_an_ordinary_user_left(
    runtime: Runtime, rootless_runtime: Runtime
) -> None:
    calls.run_detached(rootless_runtime, "w", "sleep", "600")
    done = runtime("--root", rootless_runtime.home / "state", "delete", "--force", "w")
    # Either done, or refused for whose it is; never half.
    worlds = rootless_runtime.worlds()
    assert worlds == ([] if done.status == 0 else ["w"])


def test_file_of_root_stays_unreadable(rootless_runtime: Runtime) -> None:
    project = calls.public_directory(rootless_runtime, "project")
    secret = project / "secret"
    secret.write_text("secret\n", encoding="utf-8")
    secret.chmod(0o600)
    words = ("w", "sh", "-c", "cat secret 2>/dev/null || echo refused; echo > other && echo wrote")
    done = rootless_runtime(*HOST_PROJECT, project, *words).ok()
    assert done.stdout.split() == ["refused", "wrote"]
