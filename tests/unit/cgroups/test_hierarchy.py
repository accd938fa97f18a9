from __future__ import annotations

import os

import pytest

from substrate.cgroups import hierarchy as hierarchies
from substrate.cgroups.hierarchy import (
    Hierarchy,
    Place,
    choose_place,
    delegated_directory,
    expand_slice,
    parse_hierarchy,
)
from substrate.errors import RefusedError, UnsupportedError, UsageError

_PURE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate"
_HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
_CONTROLLERS = """\
#subsys_name	hierarchy	num_cgroups	enabled
cpuset	0	1	1
memory	4	18	1
hugetlb	0	1	1
"""
_V2 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t18\t1\n"
_USER = "/user.slice/user-1000.slice/user@1000.service"
_ROOT = Hierarchy("/sys/fs/cgroup", "/", "/")


def test_pure_v2_is_found() -> None:
    found = parse_hierarchy(_PURE, "0::/user.slice\n", _V2)
    assert found == Hierarchy("/sys/fs/cgroup", "/", "/user.slice")
    assert found.mode == "unified"
    assert found.own_directory == "/sys/fs/cgroup/user.slice"


def test_hybrid_machine_tells_what_v1_holds() -> None:
    found = parse_hierarchy(_HYBRID, "4:memory:/x\n0::/\n", _CONTROLLERS)
    assert found == Hierarchy("/sys/fs/cgroup/unified", "/", "/", ("memory",))
    assert found.mode == "hybrid"
    assert "v1 hierarchies hold the memory" in found.why_not("memory")
    assert "not delegated" in found.why_not("cpuset")


@pytest.mark.parametrize("mounts", ["", _PURE.replace(" rw,", " ro,")])
def test_no_hierarchy_that_can_be_written_is_none(mounts: str) -> None:
    found = parse_hierarchy(mounts, "", "")
    assert found.mode == "legacy"
    assert found.own_directory is None
    assert found.why_not("pids") == "no cgroup2 file system is mounted"
    with pytest.raises(UnsupportedError, match="no cgroup2 file system"):
        choose_place(found, None, "w", privileged=True)


def test_the_usual_mount_is_preferred_and_names_are_unescaped() -> None:
    other = "50 23 0:26 /a /mnt/my\\040groups rw - cgroup2 none rw"
    assert parse_hierarchy(f"{_PURE}\n{other}", "", "").mount == "/sys/fs/cgroup"
    assert parse_hierarchy(other, "", "").mount == "/mnt/my groups"


def test_a_mount_may_show_a_part_of_the_hierarchy() -> None:
    found = Hierarchy("/mnt", "/a", "/a/b")
    assert found.own_directory == "/mnt/b"
    assert Hierarchy("/mnt", "/a", "/a").own_directory == "/mnt"
    assert Hierarchy("/mnt", "/a", "/ab").own_directory is None
    assert Hierarchy("/mnt", "/", "/../x").own_directory is None


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        (None, "/sys/fs/cgroup/substrate/w"),
        ("/a/b", "/sys/fs/cgroup/a/b"),
        ("/a//b/./c/", "/sys/fs/cgroup/a/b/c"),
        ("a/b", "/sys/fs/cgroup/substrate/a/b"),
        ("machine.slice:libpod:1234", "/sys/fs/cgroup/machine.slice/libpod-1234.scope"),
    ],
)
def test_a_world_goes_where_the_bundle_says(path: str | None, directory: str) -> None:
    assert choose_place(_ROOT, path, "w", privileged=True).directory == directory


@pytest.mark.parametrize("path", ["/../x", "a/..", "/a/cgroup.procs", "/x\ny", "/" + "x" * 256])
def test_a_path_out_of_the_hierarchy_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        choose_place(_ROOT, path, "w", privileged=True)


def test_the_root_itself_is_refused() -> None:
    with pytest.raises(RefusedError):
        choose_place(_ROOT, "/", "w", privileged=True)


def test_a_given_base_holds_our_folder_and_every_path() -> None:
    place = choose_place(_ROOT, "/a", "w", privileged=True, base="/sys/fs/cgroup/mine")
    assert place == Place("/sys/fs/cgroup/mine", ("substrate", "a"))


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("a-b-c.slice:docker:1", "/a.slice/a-b.slice/a-b-c.slice/docker-1.scope"),
        ("-.slice:x:1", "/x-1.scope"),
        ("system.slice::web.service", "/system.slice/web.service"),
        ("system.slice:x:mine.slice", "/system.slice/mine.slice"),
        ("/a:b:c", "/a:b:c"),
        ("plain", "plain"),
    ],
)
def test_the_form_of_systemd_is_expanded(path: str, expanded: str) -> None:
    assert expand_slice(path) == expanded


def _user(own: str) -> Hierarchy:
    return Hierarchy("/sys/fs/cgroup", "/", _USER + own)


def test_an_ordinary_user_gets_the_highest_subtree_that_is_writable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hierarchies, "is_delegated", lambda _directory: False)
    top = f"/sys/fs/cgroup{_USER}"
    found = delegated_directory(_user("/app.slice/a.scope"), lambda path: path.startswith(top))
    assert found == top


def test_a_marked_subtree_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = f"/sys/fs/cgroup{_USER}/app.slice/a.scope"
    monkeypatch.setattr(hierarchies, "is_delegated", lambda directory: directory == scope)
    assert delegated_directory(_user("/app.slice/a.scope/x"), lambda _path: True) == scope


def test_without_delegation_the_remedy_is_named() -> None:
    with pytest.raises(UnsupportedError, match="not delegated to uid") as caught:
        delegated_directory(_user("/session.scope"), lambda _path: False)
    assert "systemd-run --user --scope" in caught.value.hint


def test_a_cgroup_outside_the_mount_is_named() -> None:
    with pytest.raises(UnsupportedError, match="is not below"):
        delegated_directory(Hierarchy("/sys/fs/cgroup", "/", "/../x"))


def test_this_machine_can_be_read() -> None:
    found = hierarchies.find_hierarchy()
    assert found.mode in ("unified", "hybrid", "legacy")
    if found.mount:
        assert os.path.isdir(found.mount)
