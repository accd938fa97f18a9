from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.bundle.model import Config, IdMapping, User, parse_config
from substrate.errors import BundleError, UnsupportedError
from substrate.isolation.identity import choose_identity, range_of, with_user
from substrate.isolation.spec import Identity
from tests.support.worlds import oci

if TYPE_CHECKING:
    from pathlib import Path

USERNS = [{"type": "user"}, {"type": "mount"}]
EVERYTHING = (IdMapping(0, 0, 0xFFFFFFFF),)


@pytest.fixture(autouse=True)
def caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is 1000:1001, whoever runs the tests."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1001)


def config(
    namespaces: list[dict[str, str]] = USERNS,
    maps: list[tuple[int, int, int]] | None = None,
    *,
    extended: bool = True,
    gids: list[tuple[int, int, int]] | None = None,
) -> Config:
    """Return a configuration of namespaces and id maps."""
    linux: dict[str, Any] = {"namespaces": namespaces}
    for key, lines in (("uidMappings", maps), ("gidMappings", maps if gids is None else gids)):
        if lines is not None:
            linux[key] = [
                {"containerID": inside, "hostID": outside, "size": size}
                for inside, outside, size in lines
            ]
    data: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "process": {"args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": linux,
    }
    if extended:
        data["substrate"] = {}
    return parse_config(data)


def owned_by(monkeypatch: pytest.MonkeyPatch, uid: int, gid: int) -> str:
    """Return the path of a project whose owner is this one."""
    monkeypatch.setattr(
        os, "stat", lambda _path: os.stat_result([0, 0, 0, 0, uid, gid, 0, 0, 0, 0])
    )
    return "/project"


def test_root_without_a_user_namespace_keeps_its_ids() -> None:
    found = choose_identity(config([{"type": "mount"}]), "w", None, privileged=True, host_ids=False)
    assert found == (None, None)


def test_an_ordinary_user_needs_a_user_namespace() -> None:
    with pytest.raises(
        UnsupportedError, match="without root, a user namespace is needed"
    ) as caught:
        choose_identity(config([{"type": "mount"}]), "w", None, privileged=False, host_ids=False)
    assert '{"type": "user"}' in caught.value.hint


@pytest.mark.parametrize("privileged", [True, False])
def test_a_joined_namespace_is_set_up_as_its_uid_0(privileged: bool) -> None:
    joined = config([{"type": "user", "path": "/proc/1/ns/user"}, {"type": "mount"}])
    found, user = choose_identity(joined, "w", None, privileged=privileged, host_ids=False)
    assert found == Identity((), (), 0, 0, may_set_groups=privileged)
    assert user is None


def test_plain_oci_needs_maps_for_a_new_namespace() -> None:
    with pytest.raises(BundleError, match=r"\$\.linux\.uidMappings: expected the ids"):
        choose_identity(config(extended=False), "w", None, privileged=True, host_ids=False)


def test_an_ordinary_user_is_mapped_to_itself() -> None:
    found, user = choose_identity(config(), "w", None, privileged=False, host_ids=False)
    assert found == Identity(
        (IdMapping(1000, 1000, 1),), (IdMapping(1001, 1001, 1),), 1000, 1001, may_set_groups=False
    )
    assert user == User(1000, 1001)


def test_under_root_the_payload_is_the_projects_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    project = owned_by(monkeypatch, 501, 20)
    found, user = choose_identity(config(), "w", project, privileged=True, host_ids=False)
    assert found == Identity(
        (IdMapping(501, 501, 1),), (IdMapping(20, 20, 1),), 501, 20, may_set_groups=True
    )
    assert user == User(501, 20)


@pytest.mark.parametrize("has_project", [True, False])
def test_a_project_of_roots_gets_a_powerless_range(
    monkeypatch: pytest.MonkeyPatch, has_project: bool
) -> None:
    project = owned_by(monkeypatch, 0, 0) if has_project else None
    found, user = choose_identity(config(), "w", project, privileged=True, host_ids=False)
    assert found is not None
    assert found.uid_map == found.gid_map == (IdMapping(0, range_of("w"), 65536),)
    assert (found.setup_uid, found.setup_gid) == (0, 0)
    assert found.idmapped
    assert found.may_set_groups
    assert user == User(0, 0)


def test_host_uid_0_has_to_be_allowed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    project = owned_by(monkeypatch, 0, 0)
    found, user = choose_identity(config(), "w", project, privileged=True, host_ids=True)
    assert found is not None
    assert (found.uid_map, found.gid_map) == (EVERYTHING, EVERYTHING)
    assert not found.idmapped
    assert user == User(0, 0)


def test_host_uid_0_allowed_is_not_host_uid_0_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for projects of root's; another owner's payload is that owner all the same."""
    project = owned_by(monkeypatch, 501, 20)
    assert choose_identity(config(), "w", project, privileged=True, host_ids=True)[1] == User(
        501, 20
    )
    assert choose_identity(config(), "w", None, privileged=False, host_ids=True)[1] == User(
        1000, 1001
    )


@pytest.mark.parametrize(
    ("maps", "privileged", "expected"),
    [
        # root maps a range: uid 0 of it sets up
        ([(0, 100000, 65536)], True, {"setup": 0, "groups": True, "helpers": False}),
        # root maps without 0: the first id sets up
        ([(1000, 100000, 10)], True, {"setup": 1000, "groups": True, "helpers": False}),
        ([(5, 100000, 1), (0, 200000, 1)], True, {"setup": 0, "groups": True, "helpers": False}),
        # an ordinary user maps itself: the kernel allows that, without setgroups
        ([(0, 1000, 1)], False, {"setup": 0, "groups": False, "helpers": False}),
        # an ordinary user maps a range of /etc/subuid: through newuidmap
        ([(0, 100000, 65536)], False, {"setup": 0, "groups": True, "helpers": True}),
        ([(0, 1000, 1), (1, 100000, 10)], False, {"setup": 0, "groups": True, "helpers": True}),
        # somebody else's id is for newuidmap to refuse
        ([(0, 1002, 1)], False, {"setup": 0, "groups": True, "helpers": True}),
        ([(0, 1000, 2)], False, {"setup": 0, "groups": True, "helpers": True}),
    ],
)
def test_explicit_maps_are_taken_as_they_are(
    maps: list[tuple[int, int, int]], privileged: bool, expected: dict[str, Any]
) -> None:
    gids = [(inside, 1001 if outside == 1000 else outside, size) for inside, outside, size in maps]
    found, user = choose_identity(
        config(maps=maps, gids=gids), "w", None, privileged=privileged, host_ids=False
    )
    assert found is not None
    assert user is None
    assert found.uid_map == tuple(IdMapping(*line) for line in maps)
    assert found.gid_map == tuple(IdMapping(*line) for line in gids)
    assert (found.setup_uid, found.setup_gid) == (expected["setup"], expected["setup"])
    assert (found.may_set_groups, found.helpers) == (expected["groups"], expected["helpers"])
    assert not found.idmapped


def test_explicit_maps_win_over_the_projects_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    project = owned_by(monkeypatch, 501, 20)
    found, user = choose_identity(
        config(maps=[(0, 100000, 10)]), "w", project, privileged=True, host_ids=False
    )
    assert found is not None
    assert found.uid_map == (IdMapping(0, 100000, 10),)
    assert user is None


@given(st.text(min_size=1, max_size=64))
def test_a_range_is_powerless_and_does_not_straddle(world_id: str) -> None:
    base = range_of(world_id)
    assert base == range_of(world_id)
    assert base % 65536 == 0
    # Above every user and service, below the sign bit and below "nobody" of 32 bits.
    assert base >= 0x0008_0000
    assert base + 65536 <= 0x6FFF_0000


def test_different_worlds_mostly_have_different_ranges() -> None:
    assert len({range_of(f"w{number}") for number in range(100)}) > 90


def test_the_caller_may_choose_another_user(tmp_path: Path) -> None:
    process = oci(tmp_path).process
    assert process is not None
    chosen = User(33, 33)
    assert with_user(process, chosen, asked=True) is process
    assert with_user(process, None, asked=False) is process
    assert with_user(None, chosen, asked=False) is None
    changed = with_user(process, chosen, asked=False)
    assert changed is not None
    assert (changed.user.uid, changed.user.gid) == (33, 33)


def test_the_umask_of_the_bundle_stays(tmp_path: Path) -> None:
    process = oci(tmp_path, process={"user": {"uid": 0, "gid": 0, "umask": 0o77}}).process
    changed = with_user(process, User(33, 33), asked=False)
    assert changed is not None
    assert changed.user.umask == 0o77
