"""The test-suite's own instruments: a leak check that cannot fail proves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import bundles, leaks, reaper, rootless
from tests.support.golden import Golden

if TYPE_CHECKING:
    from pathlib import Path


def test_open_descriptor_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE_S", 0.0)
    before = leaks.take_census()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    found = leaks.new_since(before)
    os.close(descriptor)
    assert found["descriptors"] == [f"{descriptor} -> /dev/null"]
    assert leaks.new_since(before) == {}


def test_process_left_running_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_PATIENCE_S", 0.0)
    before = leaks.take_census()
    with subprocess.Popen(["sleep", "60"]) as process:
        found = leaks.new_since(before)
        process.kill()
    assert found["processes"] == [f"{process.pid} sleep 60"]


def test_reaper_sees_orphans_and_returns_the_status() -> None:
    # The shell ends at once; its background child becomes the reaper's.
    script = "sleep 60 & cat /proc/$PPID/task/$PPID/children; exit 7"
    done = subprocess.run(
        [sys.executable, reaper.__file__, "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 7
    assert done.stderr == ""


def test_reaper_reports_death_by_signal() -> None:
    argv = [sys.executable, reaper.__file__, "sh", "-c", "kill -9 $$"]
    assert subprocess.run(argv, check=False, timeout=20).returncode == 128 + signal.SIGKILL


def test_golden_text_that_differs_fails_with_the_difference(tmp_path: Path) -> None:
    (tmp_path / "plan.txt").write_text("pivot_root\n", encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)-pivot_root.*\+chroot"):
        Golden(update=False, folder=tmp_path)("plan.txt", "chroot")


def test_golden_text_is_rewritten_on_request(tmp_path: Path) -> None:
    Golden(update=True, folder=tmp_path)("deep/plan.txt", "pivot_root")
    Golden(update=False, folder=tmp_path)("deep/plan.txt", "pivot_root")


def test_overrides_merge_replace_and_remove() -> None:
    config = {"process": {"args": ["a"], "cwd": "/"}, "hostname": "world"}
    changes = {"process": {"args": ["b"]}, "hostname": None}
    assert bundles.merged(config, changes) == {"process": {"args": ["b"], "cwd": "/"}}


def test_first_closed_folder_on_the_way_is_found(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    inner = closed / "inner"
    inner.mkdir(parents=True)
    for folder in (closed, inner):
        folder.chmod(0o755)
    # pytest's own temporary folders are closed to others; judge only what lies below.
    above = rootless.first_closed_folder(tmp_path)
    closed.chmod(0o700)
    assert rootless.first_closed_folder(inner) == (above or closed)
