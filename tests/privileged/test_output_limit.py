"""The output of a world is limited where somebody relays it, and refused where nobody does."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import calls
from tests.support.features import requires
from tests.support.refusals import refused
from tests.support.terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.runtime import Runtime

pytestmark = requires(*calls.WORLD)
FLOOD = "(setsid sh -c 'while :; do echo flood; done' &); while :; do echo flood >&2; done"
TOLD = (
    r"too much output: the limit of 1 KiB was reached and the {what} was ended with all its"
    r" processes \(raise it with substrate\.limits\.output\)"
)


def limited(runtime: Runtime, *args: str, most: int = 1024, **changes: Any) -> Path:
    return runtime.bundle(*args, substrate={"limits": {"output": most}}, **changes)


def told(what: str) -> str:
    return TOLD.format(what=what).replace("\\", "")


def test_world_that_floods_its_output_is_ended_as_a_whole(any_runtime: Runtime) -> None:
    done = any_runtime("run", "-b", limited(any_runtime, "sh", "-c", FLOOD), "w")
    assert done.status == 128 + 9
    warning = f"substrate-runtime: warning: {told('world')}\n"
    assert warning in done.stderr
    relayed = len(done.stdout) + len(done.stderr) - len(warning)
    assert relayed == 1024
    assert any_runtime.worlds() == []


def test_output_within_the_limit_passes_unchanged_and_apart(any_runtime: Runtime) -> None:
    script = "head -c 600 /dev/zero | tr '\\0' a; head -c 424 /dev/zero | tr '\\0' b >&2; exit 3"
    done = any_runtime("run", "-b", limited(any_runtime, "sh", "-c", script), "w")
    assert (done.status, done.stdout, done.stderr) == (3, "a" * 600, "b" * 424)


def test_each_command_of_exec_has_the_whole_limit_and_the_world_survives_it(
    any_runtime: Runtime,
) -> None:
    bundle = any_runtime.bundle(
        "sleep", "600",
        substrate={"limits": {"output": 1024}, "allowDegraded": ["limit.output"]},
    )  # fmt: skip
    any_runtime("run", "--detach", "-b", bundle, "w").ok()
    for _ in range(2):
        thousand = "head -c 1000 /dev/zero | tr '\\0' x"
        assert any_runtime("exec", "w", "sh", "-c", thousand).ok().stdout == "x" * 1000
    done = any_runtime("exec", "w", "sh", "-c", FLOOD)
    assert done.status == 128 + 9
    assert told("command") in done.stderr
    assert calls.state(any_runtime, "w")["status"] == "running"


def test_terminal_is_counted_too(any_runtime: Runtime) -> None:
    bundle = limited(any_runtime, "sh", "-c", "while :; do echo flood; done", terminal=True)
    config = bundle / "config.json"
    config.write_text(config.read_text("utf-8").replace('"terminal": false', '"terminal": true'))
    argv = [*any_runtime.argv, "run", "--tty", "--bundle", str(bundle), "w"]
    with Terminal(argv, any_runtime.environment, str(any_runtime.folder)) as terminal:
        terminal.expect("too much output: the limit of 1 KiB was reached")
        assert terminal.wait() == 128 + 9


def test_reader_that_goes_away_ends_the_program_as_without_a_limit(any_runtime: Runtime) -> None:
    ends: list[str] = []
    for bundle in (limited(any_runtime, "yes", most=1 << 40), any_runtime.bundle("yes")):
        words = shlex.join([*any_runtime.argv, "run", "--bundle", str(bundle), "w"])
        done = subprocess.run(
            ["bash", "-c", f"{words} | head -n 1; echo ${{PIPESTATUS[0]}}"],
            env=any_runtime.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stdout.startswith("y\n")
        ends.append(done.stdout)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("verb", [("create",), ("run", "--detach")])
def test_what_nobody_relays_cannot_be_counted(any_runtime: Runtime, verb: tuple[str, ...]) -> None:
    bundle = limited(any_runtime, "true")
    refused(
        any_runtime, *verb, "--bundle", bundle, "w",
        status=4, says="output counts what is relayed", hint="--allow-degraded limit.output",
    )  # fmt: skip
    done = any_runtime("--allow-degraded", "limit.output", *verb, "--bundle", bundle, "w").ok()
    assert done.stderr.startswith("substrate-runtime: warning: limit.output: ")


def test_detached_command_needs_the_same_leave(any_runtime: Runtime) -> None:
    allowed = ("--allow-degraded", "limit.output")
    bundle = limited(any_runtime, "sleep", "600")
    any_runtime(*allowed, "run", "--detach", "-b", bundle, "w").ok()
    done = any_runtime("exec", "--detach", "w", "true")
    assert done.status == 4
    assert "--allow-degraded limit.output" in done.stderr
    any_runtime(*allowed, "exec", "--detach", "w", "true").ok()


def test_pipes_are_the_payloads_only_further_descriptors(any_runtime: Runtime) -> None:
    bundle = limited(any_runtime, "sh", "-c", "ls /proc/self/fd; readlink /proc/self/fd/1")
    done = any_runtime("run", "-b", bundle, "w").ok()
    *numbers, link = done.stdout.split()
    # The last one is of the listing itself.
    assert numbers[:3] == ["0", "1", "2"]
    assert len(numbers) == 4
    assert link.startswith("pipe:")
