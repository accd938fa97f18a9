"""A process that does nothing ends when it is told to, and when nobody is left to tell it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from substrate.kernel.parking import ParkedProcess
from tests.support import calls


def test_it_has_no_descriptor_of_its_parents_and_ends() -> None:
    with ParkedProcess() as parked:
        calls.until(lambda: len(os.listdir(f"/proc/{parked.pid}/fd")) == 1, "it has closed others")
        assert os.readlink(f"/proc/{parked.pid}/fd/0").startswith("pipe:")
        assert calls.is_running(parked.pid)
    assert not Path(f"/proc/{parked.pid}").exists()
    parked.end()
    with pytest.raises(ChildProcessError):
        os.waitpid(parked.pid, os.WNOHANG)


def test_a_handler_of_its_parents_is_not_called() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with ParkedProcess() as parked:
            calls.until(lambda: len(os.listdir(f"/proc/{parked.pid}/fd")) == 1, "it is ready")
            os.kill(parked.pid, signal.SIGTERM)
            assert os.WTERMSIG(os.waitpid(parked.pid, 0)[1]) == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        parked = ParkedProcess()
        os.write(writing, str(parked.pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    pid = int(os.read(reading, 16))
    os.close(reading)
    os.close(writing)
    calls.until(lambda: not calls.is_running(pid), "it has ended")
