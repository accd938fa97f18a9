"""A call that must fail, and everything a failing call owes: one clear message, one log entry,
the right status, and nothing left behind."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.runtime import Result, Runtime

_LINE = "substrate-runtime: "
_HINT = "hint: "
# RFC 3339 in UTC.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def refused(
    runtime: Runtime, *words: str | Path, status: int, says: str | Sequence[str], hint: str = ""
) -> Result:
    """Make a call and fail unless it is refused as it should be.

    `says` is a regular expression for the one line of the message, or one for each line; `hint`
    one for the hint. Returns the call's result.
    """
    expected = [says] if isinstance(says, str) else list(says)
    log = runtime.folder / "log"
    result = runtime("--log", log, "--log-format", "json", *words)
    lines = result.stderr.splitlines()
    told = [line.removeprefix(_LINE) for line in lines if line.startswith(_LINE)]
    hints = [line.removeprefix(_HINT) for line in lines if line.startswith(_HINT)]
    assert result.status == status, result
    assert len(told) + len(hints) == len(lines), f"lines of an unknown kind\n{result}"
    assert len(told) == len(expected), f"{len(told)} lines, {len(expected)} expected\n{result}"
    for line, pattern in zip(told, expected, strict=True):
        assert re.search(pattern, line), f"{pattern!r} does not match {line!r}"
        _judge(line)
    assert len(hints) <= 1, result
    assert re.search(hint, "".join(hints)), result
    assert result.stdout == "", result
    _judge_log(log, told)
    _judge_leftovers(runtime)
    return result


def _judge(line: str) -> None:
    """A message is told in plain words: no name of an exception, no full stop."""
    assert not re.search(r"Traceback|Error\(|Error:|\b\w+Error\b|\bNone\b|<[a-z]+ object", line), (
        line
    )
    assert "internal error" not in line
    assert not line.endswith("."), line
    assert len(line) < 400, line


def _judge_log(log: Path, told: list[str]) -> None:
    (entry,) = log.read_text(encoding="utf-8").splitlines()
    decoded = json.loads(entry)
    assert set(decoded) == {"level", "msg", "time"}
    assert decoded["level"] == "error"
    assert decoded["msg"].split("\n") == told
    assert _TIME.fullmatch(decoded["time"])
    log.unlink()


def _judge_leftovers(runtime: Runtime) -> None:
    left = [
        str(path) for kept in ("state", "data") for path in sorted((runtime.home / kept).rglob("*"))
    ]
    assert left == []
