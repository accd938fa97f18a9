"""The command line of ci/vm, and what it says to a guest."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("vm_words", ROOT / "ci/vm.d/vm_words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up.
    sys.modules["vm_words"] = module
    spec.loader.exec_module(module)
    return module


words = _load()
KERNEL = words.Kernel("/boot/vmlinuz", "/lib/modules/6.12")


def parse(*arguments: str, environ: dict[str, str] | None = None) -> Any:
    return words.parse(arguments, "/work", environ or {})


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(*arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def run_script(request: Any, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    script = words.command_script(request)
    return subprocess.run(["sh", "-c", script], cwd=cwd, capture_output=True, check=False)


def test_command_keeps_its_own_options() -> None:
    request = parse("--full", "--", "pytest", "--full", "--", "-q")
    assert request.full
    assert request.command == ("pytest", "--full", "--", "-q")


@pytest.mark.parametrize("arguments", [(), ("--",), ("--full",)])
def test_command_is_demanded(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "put it behind `--`" in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--env", "1A=x"), ("--env", "A"), ("--mem", "1M"), ("--mem", "x"), ("--timeout", "0")],
)
def test_nonsense_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option in refusal(capsys, option, value, "--", "true")


@pytest.mark.parametrize(
    ("arguments", "memory_mib"),
    [((), 1024), (("--full",), 2048), (("--mem", "3G"), 3072), (("--mem", "512M"), 512)],
)
def test_memory_fits_the_machine_unless_given(arguments: tuple[str, ...], memory_mib: int) -> None:
    assert parse(*arguments, "--", "true").memory_mib == memory_mib


def test_only_chosen_variables_of_the_caller_reach_the_command() -> None:
    request = parse("--", "true", environ={"CI": "1", "SECRET": "x"})
    assert request.environment == (("CI", "1"),)


def test_given_variable_wins_over_the_callers() -> None:
    request = parse("--env", "CI=2", "--", "true", environ={"CI": "1"})
    assert dict(request.environment)["CI"] == "2"


def test_script_runs_the_command_word_for_word(tmp_path: Path) -> None:
    awkward = ["printf", "%s|", "a b", "'", '"$HOME"', "x\ny", "", "*", "\\"]
    request = words.Request(tuple(awkward), str(tmp_path), "/out", (("A", "it's `x`"),))
    assert run_script(request, tmp_path).stdout.decode() == "".join(f"{w}|" for w in awkward[2:])


def test_script_gives_the_command_its_directory_and_no_other_variables(tmp_path: Path) -> None:
    directory = tmp_path / "with space"
    directory.mkdir()
    request = words.Request(("env",), str(directory), "/out", (("A", "b c"),))
    lines = run_script(request, tmp_path).stdout.decode().splitlines()
    assert {f"PWD={directory}", "A=b c", "SUBSTRATE_VM=small", "HOME=/root"} <= set(lines)
    assert not [line for line in lines if line.startswith("PYTEST")]


@pytest.mark.parametrize(("command", "status"), [("/nonexistent", 127), ("/etc/passwd", 126)])
def test_script_ends_as_a_shell_does(command: str, status: int, tmp_path: Path) -> None:
    request = words.Request((command,), str(tmp_path), "/out")
    assert run_script(request, tmp_path).returncode == status


def test_settings_survive_any_directory() -> None:
    request = words.Request(("true",), "/a b'c", "/out")
    script = words.settings(request, KERNEL) + 'printf %s "$DIRECTORY"'
    printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout == "/a b'c"


def test_small_machine_has_the_memory_that_was_asked_for() -> None:
    guest = words.small_guest(parse("--mem", "700", "--", "true"), KERNEL)
    assert "mem=700M" in guest.machine
    assert guest.disk
    assert guest.servers == ()


def test_full_machine_has_a_server_for_each_of_its_file_systems() -> None:
    guest = words.full_guest(parse("--full", "--", "true"), KERNEL, "/virtiofsd")
    sockets = [path for path, _ in guest.servers]
    assert len(sockets) == 2
    assert all(any(path in word for word in guest.machine) for path in sockets)
    # With two threads, QEMU's cmpxchg16b corrupts flags.
    assert "max,-cx16" in guest.machine


def test_end_of_the_console_is_readable() -> None:
    console = b"\x1b[2J" + b"".join(b"line %d\r\n" % n for n in range(100)) + b"\r\n\x00bad\xff"
    shown = words.last_lines(console, 2).splitlines()
    assert shown[0].endswith("| line 99")
    assert shlex.split(shown[1]) == ["|", "bad\ufffd"]
