from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from substrate.errors import BundleError, RefusedError, SubstrateError, UnsupportedError
from substrate.filesystem import layers
from substrate.kernel import procfs
from tests.support.worlds import FILTER, oci, shipped

if TYPE_CHECKING:
    from substrate.isolation.spec import WorldSpec
    from tests.support.worlds import FixedHost

_DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}


def with_mounts(host: FixedHost, *mounts: dict[str, Any], **changes: Any) -> WorldSpec:
    return host.spec(oci(host.folder, mounts=list(mounts), **changes))


def refused(
    host: FixedHost, error: type[SubstrateError], *mounts: dict[str, Any], **changes: Any
) -> SubstrateError:
    with pytest.raises(error) as caught:
        with_mounts(host, *mounts, **changes)
    return caught.value


# --- root ---------------------------------------------------------------------------------------


def test_the_root_is_absolute_and_real(host: FixedHost) -> None:
    (host.folder / "real").mkdir()
    (host.folder / "rootfs").symlink_to("real")
    spec = host.spec(oci("rootfs"))
    assert spec.root_path == str(host.folder / "real")
    assert spec.root_readonly


def test_a_missing_root_is_a_problem_of_the_bundle(host: FixedHost) -> None:
    with pytest.raises(BundleError, match=r"\$\.root\.path: expected a directory") as caught:
        host.spec(oci("missing"))
    assert "README" in caught.value.hint


def test_a_root_that_is_a_file_is_a_problem_of_the_bundle(host: FixedHost) -> None:
    (host.folder / "file").touch()
    with pytest.raises(BundleError, match=r"\$\.root\.path: expected a directory"):
        host.spec(oci("file"))


@pytest.mark.parametrize("path", ["/", "/..", "//", "/proc/1/../.."])
def test_the_hosts_root_is_nobodys_root(host: FixedHost, path: str) -> None:
    with pytest.raises(RefusedError, match="the host's own root"):
        host.spec(oci(path))


def test_a_link_to_the_hosts_root_is_the_hosts_root(host: FixedHost) -> None:
    (host.folder / "rootfs").symlink_to("/")
    with pytest.raises(RefusedError, match="the host's own root"):
        host.spec(oci("rootfs"))


def test_a_configuration_without_root_needs_another_view(host: FixedHost) -> None:
    with pytest.raises(BundleError, match=r"\$\.root: expected the root file system"):
        host.spec(oci(host.folder, root=None))


def test_the_hosts_view_is_read_only_and_has_no_path(host: FixedHost) -> None:
    spec = host.spec(shipped("host-project"))
    assert spec.root_path is None
    assert spec.root_readonly
    assert ("/bin", "usr/bin") in spec.links
    assert spec.mounts[0].destination == "/usr"


def test_hidden_entries_are_masked_too(host: FixedHost) -> None:
    """Hiding /usr/local takes no mount away: it is a part of one."""
    spec = host.spec(shipped("locked-down"))
    assert {"/usr/local", "/usr/include"} <= set(spec.masked_paths)


def test_a_world_has_a_mount_namespace(host: FixedHost) -> None:
    with pytest.raises(BundleError, match="expected a mount namespace") as caught:
        host.spec(oci(host.folder, linux={"namespaces": [{"type": "user"}]}))
    assert caught.value.hint == 'add {"type": "mount"}'


# --- mounts -------------------------------------------------------------------------------------


def test_a_bind_is_absolute_from_the_bundle(host: FixedHost) -> None:
    (host.folder / "data").mkdir()
    (host.folder / "file").touch()
    spec = with_mounts(
        host,
        {"destination": "/data", "source": "data", "options": ["bind"]},
        {"destination": "/file/../f", "source": "file", "options": ["rbind", "ro"]},
    )
    directory, file = spec.mounts
    assert (directory.kind, directory.source) == ("bind", str(host.folder / "data"))
    assert directory.is_directory
    assert (file.destination, file.is_directory) == ("/f", False)
    assert file.options.recursive_bind


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"destination": "/x", "options": ["bind"]}, "expected a source to bind"),
        ({"destination": "/x", "source": "none", "options": ["bind"]}, "a source that exists"),
        ({"destination": "/x", "source": "x"}, "expected a type or the option bind"),
        (
            {"destination": "/x", "source": "/usr", "options": ["bind", "nodevs"]},
            '"nodevs" is no option of a bind mount',
        ),
    ],
)
def test_a_mount_that_cannot_be_is_named(
    host: FixedHost, mount: dict[str, Any], words: str
) -> None:
    error = refused(host, BundleError, mount)
    assert words in error.message
    assert "/x" in error.message


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}, "tmpcopyup"),
        ({"destination": "/x", "source": "/usr", "options": ["bind", "idmap"]}, "id-mapped"),
        (
            {
                "destination": "/x", "source": "/usr", "options": ["bind"],
                "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
            },
            "id-mapped",
        ),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_never_left_out(
    host: FixedHost, mount: dict[str, Any], words: str
) -> None:
    error = refused(host, UnsupportedError, mount)
    assert words in error.message
    assert error.hint


def test_a_cgroup_mount_is_of_the_hierarchy_the_host_has(host: FixedHost) -> None:
    spec = with_mounts(host, {"destination": "/sys/fs/cgroup", "type": "cgroup"})
    assert (spec.mounts[0].kind, spec.mounts[0].type) == ("filesystem", "cgroup2")


def test_a_remount_changes_what_is_there(host: FixedHost) -> None:
    mount = {"destination": "/x", "type": "none", "options": ["remount", "ro", "bind"]}
    spec = with_mounts(host, mount)
    assert (spec.mounts[0].kind, spec.mounts[0].source) == ("remount", "")


@pytest.mark.parametrize(
    ("links", "destination"),
    [
        ({"out": "../../.."}, "/out/etc"),
        ({"a": "b", "b": "../.."}, "/a"),
        ({"dir": "/../../etc"}, "/dir/x"),
        ({}, "/../x"),
        ({}, "/a/../../x"),
    ],
)
def test_a_target_outside_of_the_root_is_refused(
    host: FixedHost, links: dict[str, str], destination: str
) -> None:
    for name, target in links.items():
        (host.folder / name).symlink_to(target)
    error = refused(host, RefusedError, {"destination": destination, "type": "tmpfs"})
    assert f"mount target {destination} leads out of the root file system" in error.message
    assert str(host.folder) in error.hint


@pytest.mark.parametrize(
    ("links", "destination"),
    [
        ({"in": "usr"}, "/in/x"),
        ({"abs": "/usr"}, "/abs/x"),
        ({"a": "b", "b": "/c/.."}, "/a"),
        ({}, "/a/../x"),
        ({}, "/missing/deep/down"),
    ],
)
def test_a_target_inside_of_the_root_is_taken(
    host: FixedHost, links: dict[str, str], destination: str
) -> None:
    for name, target in links.items():
        (host.folder / name).symlink_to(target)
    with_mounts(host, {"destination": destination, "type": "tmpfs"})


def test_links_in_a_ring_end(host: FixedHost) -> None:
    (host.folder / "a").symlink_to("b")
    (host.folder / "b").symlink_to("a")
    refused(host, RefusedError, {"destination": "/a/x", "type": "tmpfs"})


# --- devices ------------------------------------------------------------------------------------


def devices(host: FixedHost, *listed: dict[str, Any], userns: bool) -> WorldSpec:
    names = ["mount", "pid"] + (["user"] if userns else [])
    maps = None if not userns else [{"containerID": 0, "hostID": 1, "size": 1}]
    linux = {
        "devices": list(listed), "namespaces": [{"type": name} for name in names],
        "uidMappings": maps, "gidMappings": maps,
    }  # fmt: skip
    return with_mounts(host, _DEV, linux=linux)


FUSE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
FIFO = {"path": "/dev/initctl", "type": "p"}
NULL = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}


def test_device_nodes_are_made_where_they_can_be(host: FixedHost) -> None:
    spec = devices(host, FUSE, FIFO, NULL, userns=False)
    assert [device.path for device in spec.devices] == ["/dev/fuse", "/dev/initctl"]
    assert "/dev/null" in spec.bind_devices
    assert "/dev/fuse" not in spec.bind_devices


def test_in_a_user_namespace_nodes_are_bound_and_fifos_made(host: FixedHost) -> None:
    spec = devices(host, FUSE, FIFO, NULL, userns=True)
    assert [device.path for device in spec.devices] == ["/dev/initctl"]
    assert spec.bind_devices[-1] == "/dev/fuse"
    assert spec.bind_devices.count("/dev/null") == 1


def test_a_world_without_a_dev_of_its_own_gets_no_devices_in_it(host: FixedHost) -> None:
    assert with_mounts(host).bind_devices == ()


# --- the project --------------------------------------------------------------------------------


def project(host: FixedHost, settings: dict[str, Any] | None = None, **demand: Any) -> WorldSpec:
    extension = {"project": settings or {}, "rootfs": {"kind": "host"}}
    config = shipped("host-project", substrate=extension)
    return host.spec(config, **demand)


def test_a_project_is_shown_at_its_own_path_unless_told_otherwise(host: FixedHost) -> None:
    spec = project(host, {"at": None})
    assert spec.project is not None
    assert (spec.project.path, spec.project.at) == (str(host.folder), str(host.folder))
    assert spec.project.write == "layers"
    shown = project(host, {"at": "/work"}).project
    assert shown is not None
    assert shown.at == "/work"


def test_a_dot_is_the_callers_directory(host: FixedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(host.folder)
    assert project(host, {"path": "."}, project=None, bundle="/nonexistent").project is not None


def test_another_path_is_relative_to_the_bundle(host: FixedHost) -> None:
    (host.folder / "sub").mkdir()
    spec = project(host, {"path": "sub"}, project=None)
    assert spec.project is not None
    assert spec.project.path == str(host.folder / "sub")


def test_the_payload_starts_in_the_project(host: FixedHost) -> None:
    def directory(spec: WorldSpec) -> str:
        assert spec.process is not None
        return spec.process.cwd

    assert directory(project(host, {"at": "/work"})) == "/work"
    assert directory(project(host, {"at": "/work", "enter": False})) == "/"
    assert directory(project(host, {"at": "/work"}, cwd_given=True)) == "/"


@pytest.mark.parametrize(("write", "layered"), [("layers", True), ("live", False),
                                                ("readonly", False)])  # fmt: skip
def test_only_layers_have_a_layer(host: FixedHost, write: str, layered: bool) -> None:
    spec = project(host, {"write": write})
    assert spec.project is not None
    assert (spec.project.layer is not None) == layered


def test_a_missing_project_is_named(host: FixedHost) -> None:
    with pytest.raises(BundleError, match="is not a directory") as caught:
        project(host, project=str(host.folder / "missing"))
    assert caught.value.hint == "use --project DIR"


@pytest.mark.parametrize(("settings", "given"), [({}, "/"), ({"at": "/"}, None)])
def test_everything_cannot_be_a_project(
    host: FixedHost, settings: dict[str, Any], given: str | None
) -> None:
    with pytest.raises(RefusedError, match="the whole root directory cannot be a project"):
        project(host, settings, **({} if given is None else {"project": given}))


def mounted(monkeypatch: pytest.MonkeyPatch, *points: str) -> None:
    """Let the kernel say that these are the mount points."""
    lines = [f"36 35 98:0 / {point} rw - tmpfs tmpfs rw\n" for point in points]
    monkeypatch.setattr(layers, "mount_lines", lambda: procfs.parse_mount_lines(lines))


def test_a_project_with_a_file_system_inside_is_refused(
    host: FixedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = str(host.folder / "mnt")
    mounted(monkeypatch, "/", "/proc", inside)
    with pytest.raises(RefusedError, match="another file system mounted in it") as caught:
        project(host)
    assert inside in caught.value.message
    # Not layered, it is bound with everything in it.
    assert project(host, {"write": "readonly"}).project is not None


def test_a_mount_beside_the_project_is_nobodys_concern(
    host: FixedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, str(host.folder), f"{host.folder}-other", str(host.folder.parent))
    assert project(host).project is not None


def test_a_project_for_a_bundle_without_one_is_an_error(host: FixedHost) -> None:
    with pytest.raises(UnsupportedError, match="the bundle has no project"):
        host.spec(oci(host.folder), project=str(host.folder))


def test_denied_parts_of_the_project_are_masked(host: FixedHost) -> None:
    (host.folder / "a/b").mkdir(parents=True)
    for name in (".env", "a/b/.env", "kept"):
        (host.folder / name).touch()
    spec = project(host, {"deny": ["**/.env", "no-match"], "at": "/work"})
    assert {"/work/.env", "/work/a/b/.env"} <= set(spec.masked_paths)
    assert "/work/kept" not in spec.masked_paths


# --- what cannot be had --------------------------------------------------------------------------

_NO_MAPS: dict[str, Any] = {"uidMappings": None, "gidMappings": None}
LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("cgroup", {"linux": {"resources": {"memory": {"limit": 1}}}}),
    ("cgroup", {"substrate": {"limits": {"memory": 1}}}),
    ("cgroup", {"substrate": {"limits": {"pids": 5}}}),
    ("network", {"substrate": {"network": {"mode": "filtered", "allowedDomains": ["a.org"]}}}),
    # Nothing but a cgroup could end all of a world that shares its pid namespace.
    ("cgroup", {"linux": {"namespaces": [{"type": "mount"}], **_NO_MAPS}}),
    ("device-rules", {
        "process": {"capabilities": {"bounding": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"]}},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}], **_NO_MAPS,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), LOSSES)
def test_what_cannot_be_had_is_an_error_that_names_the_way_out(
    host: FixedHost, name: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        host.spec(oci(host.folder, **changes))
    assert f"--allow-degraded {name}" in caught.value.hint
    assert caught.value.status == 4


@pytest.mark.parametrize(("name", "changes"), LOSSES)
def test_what_may_be_missing_is_on_record(
    host: FixedHost, name: str, changes: dict[str, Any]
) -> None:
    config = oci(host.folder, **changes)
    assert [loss.name for loss in host.spec(config, allow_degraded=(name,)).degraded] == [name]
    with pytest.raises(UnsupportedError):
        host.spec(config, allow_degraded=("something else",))


def test_the_bundle_itself_may_allow_a_loss(host: FixedHost) -> None:
    extension = {"limits": {"pids": 5}, "allowDegraded": ["cgroup"]}
    assert host.spec(oci(host.folder, substrate=extension)).degraded[0].name == "cgroup"


def test_a_caller_without_cgroups_asked_for_none(host: FixedHost) -> None:
    config = oci(host.folder, linux={"resources": {"pids": {"limit": 5}}})
    assert host.spec(config, no_cgroups=True).degraded == ()


def test_denying_all_devices_needs_no_cgroup(host: FixedHost) -> None:
    rule = {"devices": [{"allow": False, "access": "rwm"}]}
    assert host.spec(oci(host.folder, linux={"resources": rule})).degraded == ()


@pytest.mark.parametrize(
    ("name", "sign", "changes"),
    [
        ("selinux", "/sys/fs/selinux/enforce", {"process": {"selinuxLabel": "a_t"}}),
        ("selinux", "/sys/fs/selinux/enforce", {"linux": {"mountLabel": "a_t"}}),
        ("apparmor", "/sys/kernel/security/apparmor", {"process": {"apparmorProfile": "p"}}),
    ],
)
def test_a_label_has_no_effect_without_its_module_and_is_owed_with_it(
    host: FixedHost, monkeypatch: pytest.MonkeyPatch, name: str, sign: str, changes: dict[str, Any]
) -> None:
    config, real = oci(host.folder, **changes), os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path != sign and real(path))
    assert [loss.name for loss in host.spec(config).degraded] == [name]
    monkeypatch.setattr(os.path, "exists", lambda path: path == sign or real(path))
    with pytest.raises(UnsupportedError, match="cannot be set by this version"):
        host.spec(config)


# --- the rest -----------------------------------------------------------------------------------


def test_the_user_namespace_is_joined_first(host: FixedHost) -> None:
    kinds = ("network", "user", "pid")
    joined = [{"type": kind, "path": f"/run/{kind}"} for kind in kinds]
    linux = {"namespaces": [*joined, {"type": "mount"}], "uidMappings": None, "gidMappings": None}
    spec = host.spec(oci(host.folder, linux=linux), allow_degraded=("cgroup",))
    assert spec.joined_namespaces == (
        ("user", "/run/user"), ("network", "/run/network"), ("pid", "/run/pid"),
    )  # fmt: skip
    assert spec.new_namespaces == ("mount",)


@pytest.mark.parametrize(
    ("kinds", "forks"), [(["mount"], False), (["mount", "pid"], True), (["mount", "time"], True)]
)
def test_a_pid_or_time_namespace_needs_a_fork(
    host: FixedHost, kinds: list[str], forks: bool
) -> None:
    linux = {"namespaces": [{"type": kind} for kind in kinds], "uidMappings": None,
             "gidMappings": None}  # fmt: skip
    assert host.spec(oci(host.folder, linux=linux), allow_degraded=("cgroup",)).forks == forks


def test_mounts_come_from_the_runtime_where_the_payload_is_another(host: FixedHost) -> None:
    assert host.spec(oci(host.folder)).mounts_from_runtime
    kinds = [{"type": "mount"}, {"type": "pid"}]
    without = {"namespaces": kinds, "uidMappings": None, "gidMappings": None}
    assert not host.spec(oci(host.folder, linux=without)).mounts_from_runtime
    assert not host.spec(shipped("rootless"), privileged=False).mounts_from_runtime


def test_nothing_is_changed_on_the_way(host: FixedHost) -> None:
    before = sorted(os.walk(host.folder))
    host.spec(shipped("host-project"))
    assert sorted(os.walk(host.folder)) == before
    assert not Path("/var/lib/substrate/golden").exists()


def test_the_filter_and_the_demand_are_taken_over(host: FixedHost) -> None:
    spec = host.spec(oci(host.folder), no_pivot=True, preserve_fds=3, listening=True)
    assert (spec.no_pivot, spec.preserve_fds, spec.listening) == (True, 3, True)
    assert spec.seccomp == FILTER
