"""Failures: standard error, the log that engines decode, the exit status."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any

import pytest

from substrate import errors
from substrate.cli.report import Reporter
from substrate.errors import BundleError, SubstrateError, UsageError, WorldNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def _reporter(**values: object) -> Reporter:
    reporter = Reporter("substrate-runtime")
    reporter.configure(values)
    return reporter


def test_an_error_is_a_message_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    error = SubstrateError("doing it: no", "substrate-runtime list")
    assert _reporter().failure(error) == 1
    assert capsys.readouterr().err == (
        "substrate-runtime: doing it: no\nhint: substrate-runtime list\n"
    )


def test_every_problem_of_a_bundle_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = BundleError(["config.json: $.a: x", "config.json: $.b: y"])
    assert _reporter().failure(error) == 2
    assert capsys.readouterr().err == (
        "substrate-runtime: config.json: $.a: x\nsubstrate-runtime: config.json: $.b: y\n"
    )


def test_the_json_log_of_a_failure_is_exactly_one_object(log: Path) -> None:
    reporter = _reporter(log=str(log), log_format="json")
    reporter.check_log()
    reporter.warn("something was had in part")
    message = 'container "a\x1b[2J" does not exist\nsecond line'
    assert reporter.failure(WorldNotFoundError(message, "a hint")) == 1
    entry = json.loads(log.read_text())
    assert list(entry) == ["level", "msg", "time"]
    assert entry["level"] == "error"
    assert entry["msg"] == message
    assert RFC_3339.fullmatch(entry["time"])


def test_nothing_is_logged_without_a_failure(log: Path) -> None:
    reporter = _reporter(log=str(log), log_format="json")
    reporter.check_log()
    reporter.warn("something was had in part")
    assert log.read_text() == ""


def test_the_text_log_is_one_logrus_line_each(log: Path) -> None:
    reporter = _reporter(log=str(log), log_format="text")
    reporter.warn("in part")
    reporter.failure(SubstrateError('say "no" to C:\\\nand \x1b[2J'))
    first, second = log.read_text().splitlines()
    time = r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"'
    assert re.fullmatch(time + ' level=warning msg="in part"', first)
    expected = r"say \"no\" to C:\\\nand \x1b[2J"
    assert re.fullmatch(time + " level=error msg=" + re.escape(f'"{expected}"'), second)


def test_the_log_is_private_and_appended_to(log: Path) -> None:
    for number in range(2):
        _reporter(log=f"file:{log}", log_format="json").failure(SubstrateError(f"no {number}"))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert [json.loads(line)["msg"] for line in log.read_text().splitlines()] == ["no 0", "no 1"]


def test_a_log_that_cannot_be_written_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("")
    link = tmp_path / "link"
    link.symlink_to(target)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "missing" / "log", tmp_path, link, fifo):
        with pytest.raises(SubstrateError, match="cannot write the log") as caught:
            _reporter(log=str(path)).check_log()
        assert caught.value.hint
    assert target.read_text() == ""


def test_a_log_that_fails_later_does_not_hide_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = _reporter(log=str(tmp_path / "missing" / "log"))
    assert reporter.failure(UsageError("the first error")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "substrate-runtime: the first error"
    assert "cannot write the log" in lines[1]


def test_the_standard_streams_may_be_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    reporter = _reporter(log="/dev/stdout", log_format="json")
    reporter.check_log()
    reporter.failure(SubstrateError("no"))
    assert json.loads(capfd.readouterr().out)["msg"] == "no"


def test_a_warning_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = _reporter()
    reporter.warn("no AppArmor here")
    reporter.warn("no AppArmor here")
    assert capsys.readouterr().err == "substrate-runtime: warning: no AppArmor here\n"


def test_an_error_of_the_kernel_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.EACCES, "Permission denied", "/a", None, b"/b")
    assert _reporter().failure(error) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "substrate-runtime: /a: /b: Permission denied"
    assert "--debug" in lines[1]


def test_an_internal_error_shows_its_traceback_only_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ValueError("a\x1b[31mb")
    assert _reporter().failure(error) == 1
    assert Reporter("substrate", own_failure=125).failure(error) == 125
    quiet = capsys.readouterr().err
    assert "substrate-runtime: internal error: ValueError: a\\x1b[31mb\nhint: " in quiet
    try:
        raise error
    except ValueError as raised:
        _reporter(debug=True).failure(raised)
    loud = capsys.readouterr().err
    assert loud.startswith("Traceback (most recent call last):\n")
    assert "hint" not in loud
    assert "\x1b" not in quiet + loud


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UsageError("x"), 2),
        (errors.BundleError(["x"]), 2),
        (errors.DependencyError("x"), 3),
        (errors.UnsupportedError("x"), 4),
        (errors.RefusedError("x"), 5),
        (errors.WorldStateError("x"), 1),
        (errors.StepError("x", errno=1), 1),
        (errors.CannotExecuteError("x"), 126),
        (errors.CommandNotFoundError("x"), 127),
    ],
)
def test_the_class_of_an_error_is_its_exit_status(error: SubstrateError, status: int) -> None:
    assert _reporter().failure(error) == status


@pytest.mark.parametrize(
    "message",
    [
        "container web does not exist",
        "cannot execute /x: Permission denied",
        'exec: "nope": executable file not found in $PATH',
        "open /ä: no such file or directory",
    ],
)
def test_words_that_engines_match_arrive_unchanged(
    message: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _reporter(log=str(log), log_format="json").failure(SubstrateError(message))
    assert message in capsys.readouterr().err
    assert json.loads(log.read_text())["msg"] == message


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    _reporter().failure(SubstrateError("no"))
    assert ("\x1b[" in terminal.getvalue()) is coloured
    assert terminal.getvalue().endswith("no\n")


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_standard_error_the_status_and_the_log_remain(
    stream: Any, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    assert _reporter(log=str(log), log_format="json").failure(UsageError("no")) == 2
    assert json.loads(log.read_text())["msg"] == "no"
