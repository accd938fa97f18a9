"""The table of probes, and what probes promise: a reason or nothing, and no trace of the trying."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from substrate.host.cgroups import find_cgroup2
from substrate.host.children import try_in_child
from substrate.host.probes import PROBES, missing
from tests.support import features, leaks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", sorted(PROBES))
def test_probe_answers_and_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = leaks.take_census()
    reason = PROBES[name].reason()
    assert isinstance(reason, str)
    assert leaks.new_since(before) == {}
    assert list(tmp_path.iterdir()) == []


def test_probe_rows_say_what_they_are_for() -> None:
    for probe in PROBES.values():
        assert probe.purpose
        assert not probe.purpose.endswith(".")


def test_probe_is_tried_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = missing("pidfd")
    monkeypatch.setattr("substrate.host.processes.pidfd", lambda: "tried again")
    assert missing("pidfd") == first


def test_asking_for_a_feature_without_a_probe_is_an_error() -> None:
    with pytest.raises(KeyError):
        missing("perpetual_motion")


def test_child_that_succeeds_has_no_reason() -> None:
    assert try_in_child(lambda: None) == ""


def test_child_that_fails_says_why() -> None:
    def attempt() -> None:
        os.stat("/proc/nonexistent")

    assert "/proc/nonexistent" in try_in_child(attempt)


def test_child_that_dies_is_noticed() -> None:
    assert try_in_child(lambda: os._exit(7)) == "the trying process ended with status 7"


def test_child_changes_nothing_in_its_parent() -> None:
    here = os.getcwd()
    assert try_in_child(lambda: os.chdir("/")) == ""
    assert os.getcwd() == here


def test_requires_rejects_names_that_nothing_probes() -> None:
    with pytest.raises(pytest.fail.Exception, match="nothing probes"):
        features.check(["perpetual_motion"])


def test_missing_feature_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _miss(monkeypatch)
    monkeypatch.delenv("SUBSTRATE_TESTS_MUST_RUN", raising=False)
    with pytest.raises(pytest.skip.Exception, match="git: lent to a friend"):
        features.check(["git"])


def test_missing_feature_fails_where_tests_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    _miss(monkeypatch)
    monkeypatch.setenv("SUBSTRATE_TESTS_MUST_RUN", "1")
    monkeypatch.setenv("SUBSTRATE_TESTS_MAY_SKIP", "")
    with pytest.raises(pytest.fail.Exception, match="lent to a friend"):
        features.check(["git"])


def test_feature_named_as_optional_is_skipped_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _miss(monkeypatch)
    monkeypatch.setenv("SUBSTRATE_TESTS_MUST_RUN", "1")
    monkeypatch.setenv("SUBSTRATE_TESTS_MAY_SKIP", "gcc git")
    with pytest.raises(pytest.skip.Exception):
        features.check(["git"])


def _miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "missing", lambda _name: "lent to a friend")


def test_cgroup2_is_found_by_its_type(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "22 1 0:20 / /proc rw,nosuid - proc proc rw\n"
        "30 1 0:26 / /sys/my\\040groups rw - cgroup2 cgroup2 rw\n",
        encoding="utf-8",
    )
    assert find_cgroup2(str(mountinfo)) == "/sys/my groups"


def test_cgroup2_that_is_not_mounted_is_nowhere(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("22 1 0:20 / /proc rw - proc proc rw\n", encoding="utf-8")
    assert find_cgroup2(str(mountinfo)) == ""
