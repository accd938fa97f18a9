"""`substrate-runtime` as an executable: verbs are found, failures end in a status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate import __version__
from substrate.cli import runtime, terminal
from substrate.cli.report import reporter
from substrate.errors import WorldNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.cli.parse import Arguments

SOURCES = str(Path(runtime.__file__).parents[2])

# What a call may load beside `os`, before its verb loads what it needs.
HOT_MODULES = {
    "__future__",
    "gc",
    "substrate",
    "substrate.cli",
    "substrate.cli.grammar",
    "substrate.cli.accept_verbs",
    "substrate.cli.layer_verbs",
    "substrate.cli.ending",
    "substrate.cli.options",
    "substrate.cli.parse",
    "substrate.cli.report",
    "substrate.cli.runtime",
    "substrate.cli.terminal",
    "substrate.errors",
    "substrate.kernel",
    "substrate.kernel.signals",
}


@pytest.fixture(autouse=True)
def _fresh_reporter() -> None:
    reporter.configure({})


@pytest.fixture
def state_verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Arguments], int]], None]:
    """Put a function in place of the verb `state`."""

    def install(run: Callable[[Arguments], int]) -> None:
        module = types.ModuleType("stand_in_for_state")
        module.__dict__["run"] = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(runtime.VERBS, "state", module.__name__)

    return install


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "substrate", *words],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": SOURCES},
    )


def test_the_status_of_a_verb_is_the_exit_status(
    state_verb: Callable[[Callable[[Arguments], int]], None],
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    def run(arguments: Arguments) -> int:
        terminal.write(f"{arguments.operands[0]}\udcff\n")
        return 7

    state_verb(run)
    assert runtime.main(["state", "web"]) == 7
    assert capsysbinary.readouterr().out == b"web\xff\n"


def test_an_error_of_a_verb_is_reported_and_logged_once(
    state_verb: Callable[[Callable[[Arguments], int]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(arguments: Arguments) -> int:
        raise WorldNotFoundError(f"container {arguments.operands[0]!r} does not exist")

    state_verb(run)
    log = tmp_path / "log"
    assert runtime.main(["--log", str(log), "--log-format=json", "state", "web"]) == 1
    assert json.loads(log.read_text())["msg"] == "container 'web' does not exist"
    assert capsys.readouterr().err == "substrate-runtime: container 'web' does not exist\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (terminal.OutputClosedError(), 141),
        (BrokenPipeError(32, "Broken pipe"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_no_exception_becomes_a_traceback(
    state_verb: Callable[[Callable[[Arguments], int]], None],
    error: BaseException,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(_arguments: Arguments) -> int:
        raise error

    state_verb(run)
    assert runtime.main(["state", "web"]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_in_the_command_line_reaches_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert runtime.main(["--log", str(log), "--log-format", "json", "create", "--bogus"]) == 2
    assert "--bogus" in json.loads(log.read_text())["msg"]
    assert "--bogus" in capsys.readouterr().err


def test_nothing_is_done_when_the_log_cannot_be_written(
    state_verb: Callable[[Callable[[Arguments], int]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    called: list[Arguments] = []

    def run(arguments: Arguments) -> int:
        called.append(arguments)
        return 0

    state_verb(run)
    assert runtime.main(["--log", str(tmp_path / "no" / "log"), "state", "web"]) == 1
    assert capsys.readouterr().err.count("cannot write the log") == 1
    assert runtime.main(["--log", str(tmp_path / "log"), "state", "web"]) == 0
    assert len(called) == 1


def test_the_version_is_in_runcs_form() -> None:
    done = _run("--version")
    assert done.returncode == 0
    assert done.stdout == (
        f"substrate-runtime version {__version__}\nspec: {runtime.SPEC_VERSION}\n"
    )
    assert json.loads(_run("--json", "-v").stdout)["version"] == __version__


def test_a_reader_that_has_gone_away_is_not_an_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "substrate", "help"],
            check=False,
            stdout=write_fd,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": SOURCES},
        )
    finally:
        os.close(write_fd)
    assert done.returncode == 141
    assert done.stderr == b""


def test_output_that_cannot_be_written_is_an_error() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "substrate", "--version"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": SOURCES},
        )
    assert done.returncode == 1
    assert b"standard output: No space left on device" in done.stderr


def test_closed_standard_streams_are_survived() -> None:
    script = f"exec {sys.executable} -m substrate --version >&- 2>&-"
    done = subprocess.run(["sh", "-c", script], check=False, env={"PYTHONPATH": SOURCES})
    assert done.returncode == 0


def test_nothing_is_needed_from_the_environment() -> None:
    script = (
        f"import sys; sys.path.insert(0, {SOURCES!r}); sys.argv[1:] = ['--version'];"
        "from substrate.cli.runtime import entry; entry()"
    )
    done = subprocess.run(
        [sys.executable, "-ISE", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={},
        cwd="/",
    )
    assert done.stdout.startswith("substrate-runtime version ")


def test_a_call_loads_only_the_modules_of_the_command_line() -> None:
    script = (
        f"import os, sys; before = set(sys.modules); sys.path.insert(0, {SOURCES!r});"
        "from substrate.cli import runtime;"
        "runtime.main(['--log-format', 'json', '--version']);"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-ISE", "-c", script], check=True, capture_output=True, text=True
    )
    assert set(done.stdout.splitlines()[-1].split()) <= HOT_MODULES


def test_an_unknown_verb_suggests_one() -> None:
    done = _run("crate", "web")
    assert done.returncode == 2
    assert done.stderr == (
        "substrate-runtime: there is no verb 'crate'; did you mean create?\n"
        "hint: substrate-runtime --help\n"
    )
