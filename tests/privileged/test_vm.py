"""`ci/vm` passes on what its command says and leaves nothing, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.features import requires
from tests.support.runtime import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    requires("root", "machines"),
]
_VM = str(ROOT / "ci/vm")
_STARTED = "the command runs"


@pytest.fixture(autouse=True)
def _nothing_on_the_bench() -> Iterator[None]:
    """Processes and mounts are counted by the leak check of every test; files are not."""
    before = set(os.listdir("/dev/shm"))
    yield
    assert set(os.listdir("/dev/shm")) <= before


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    """Start a machine whose command would run for ever; return when it does."""
    script = f"echo early > $SUBSTRATE_VM_OUT/early; echo {_STARTED}; sleep 600"
    machine = subprocess.Popen(
        [_VM, "--out", out, *options, "--", "sh", "-c", script],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert machine.stdout is not None
    assert machine.stdout.readline() == f"{_STARTED}\n"
    return machine


def members(group: int) -> list[str]:
    """Return the processes of a process group, and whatever looks like a machine's kernel."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text("utf-8", "replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0] != "Z" and group in (int(words[2]), int(words[3])):
            found.append(path.parent.name)
    return found


def test_status_output_and_files_come_back(tmp_path: Path) -> None:
    script = "echo said; echo told >&2; echo kept > $SUBSTRATE_VM_OUT/file; exit 7"
    done = subprocess.run(
        [_VM, "--quiet", "--out", tmp_path, "--", "sh", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "told\n")
    assert (tmp_path / "file").read_text("utf-8") == "kept\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_machine_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as machine:
        machine.send_signal(number)
        status = machine.wait(20)
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    deadline = time.monotonic() + 20
    while members(machine.pid):
        assert time.monotonic() < deadline, members(machine.pid)
        time.sleep(0.05)
    if number != signal.SIGKILL:
        assert (tmp_path / "early").read_text("utf-8") == "early\n"


def test_the_time_out_ends_the_machine_and_keeps_what_was_written(tmp_path: Path) -> None:
    with started(tmp_path, "--timeout", "15") as machine:
        status = machine.wait(60)
    assert status == 124
    assert members(machine.pid) == []
    assert (tmp_path / "early").read_text("utf-8") == "early\n"


def test_a_machine_that_does_not_boot_is_ended_and_its_console_shown(tmp_path: Path) -> None:
    words = [_VM, "--boot-timeout", "0.3", "--out", str(tmp_path), "--", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "did not boot within 0.3 s" in done.stderr
