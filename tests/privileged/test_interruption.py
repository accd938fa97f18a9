"""Who interrupts a command in the foreground ends it, whether or not it can hear."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)

ENDING = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
# Much longer than the test waits, short enough to end by itself when the test fails.
SLEEP = "25"
# The shell is deaf as pid 1, and its child is not; what follows must not run.
WITH_A_CHILD = f"sh -c 'echo ready; exec sleep {SLEEP}'; echo later"
DEAF = f"echo ready; exec sleep {SLEEP}"


def at_work(runtime: Runtime, *words: str | Path) -> None:
    """Return once the sleep has begun in world `w`: what it does is then the default."""
    calls.until(lambda: "sleep" in runtime("ps", "w", *words).stdout, "the sleep runs")


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("script", [DEAF, WITH_A_CHILD])
@pytest.mark.parametrize("init", [False, True])
def test_world_that_handles_no_signal_ends_with_it(
    any_runtime: Runtime, number: signal.Signals, script: str, *, init: bool
) -> None:
    bundle = any_runtime.bundle("sh", "-c", script, substrate={"init": init})
    process = calls.started(any_runtime, "run", "--bundle", bundle, "w")
    at_work(any_runtime)
    process.send_signal(number)
    assert calls.ended(process) == (128 + number, b"")
    assert any_runtime.worlds() == []


def test_quit_ends_a_deaf_program_too(any_runtime: Runtime) -> None:
    process = calls.started(any_runtime, "run", "-b", any_runtime.bundle("sh", "-c", DEAF), "w")
    at_work(any_runtime)
    process.send_signal(signal.SIGQUIT)
    assert calls.ended(process) == (128 + signal.SIGQUIT, b"")


@pytest.mark.parametrize("init", [False, True])
def test_program_that_ignores_the_signal_stays(any_runtime: Runtime, *, init: bool) -> None:
    script = "trap '' INT TERM; echo ready; sleep 0.6; echo later; exit 4"
    bundle = any_runtime.bundle("sh", "-c", script, substrate={"init": init})
    process = calls.started(any_runtime, "run", "--bundle", bundle, "w")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert calls.ended(process) == (4, b"later\n")


@pytest.mark.parametrize("init", [False, True])
def test_interrupt_reaches_the_whole_group_once(any_runtime: Runtime, *, init: bool) -> None:
    counting = "trap 'n=$((n+1)); echo {name} $n' INT; "
    inner = counting.format(name="inner") + "echo ready; for i in 1 2 3 4 5; do sleep 0.1; done"
    outer = counting.format(name="outer") + 'sh -c "$0"; true'
    bundle = any_runtime.bundle("sh", "-c", outer, inner, substrate={"init": init})
    process = calls.started(any_runtime, "run", "--bundle", bundle, "w")
    process.send_signal(signal.SIGINT)
    assert calls.ended(process) == (0, b"inner 1\nouter 1\n")


def test_command_of_exec_ends_with_its_group_and_the_world_stays(any_runtime: Runtime) -> None:
    calls.run_detached(any_runtime, "w", "sleep", "600")
    process = calls.started(any_runtime, "exec", "w", "sh", "-c", WITH_A_CHILD)
    at_work(any_runtime)
    process.send_signal(signal.SIGINT)
    assert calls.ended(process) == (128 + signal.SIGINT, b"")
    assert calls.state(any_runtime, "w")["status"] == "running"


def test_key_on_a_terminal_reaches_a_program_under_an_init_once(any_runtime: Runtime) -> None:
    script = "trap 'n=$((n+1)); echo got $n' INT; echo ready; sleep 1; echo end"
    bundle = any_runtime.bundle("sh", "-c", script, terminal=True, substrate={"init": True})
    argv = [*any_runtime.argv, "run", "--bundle", str(bundle), "w"]
    with Terminal(argv, any_runtime.environment, str(any_runtime.folder)) as terminal:
        terminal.expect("ready\r\n")
        at_work(any_runtime)
        terminal.type("\x03")
        assert "got 2" not in terminal.expect("end\r\n")
        assert terminal.wait() == 0


def test_interrupt_during_the_start_ends_the_world(any_runtime: Runtime) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.5"]}
    bundle = any_runtime.bundle("sh", "-c", DEAF, hooks={"startContainer": [hook]})
    process = calls.begin(any_runtime, "run", "--bundle", bundle, "w")
    calls.until(lambda: any_runtime.worlds() == ["w"], "the world is there")
    calls.until(lambda: calls.state(any_runtime, "w")["status"] != "creating", "it waits")
    process.terminate()
    assert calls.ended(process)[0] == 128 + signal.SIGTERM
    assert any_runtime.worlds() == []
