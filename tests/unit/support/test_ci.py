"""What ci/test adds up, and the pieces of coverage that it combines."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

from coverage import CoverageData

from tests.support.runtime import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_SUITE = '<testsuite tests="{}" skipped="{}" failures="{}" errors="0">{}</testsuite>'
_CASE = '<testcase classname="tests.privileged.{}" name="{}">{}</testcase>'
_SKIPPED = '<skipped message="no"/>'


def call(script: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "ci" / script), *map(str, words)],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def report(path: Path, *cases: str) -> None:
    failed = sum("<failure" in case for case in cases)
    path.write_text(
        _SUITE.format(len(cases), sum(_SKIPPED in case for case in cases), failed, "".join(cases))
    )


def test_what_one_machine_skipped_and_another_ran_is_not_skipped(tmp_path: Path) -> None:
    a, b, c = ("test_a", "works[1-x]"), ("test_b.TestGroup", "works"), ("test_c", "works")
    report(tmp_path / "host.xml", *(_CASE.format(*case, _SKIPPED) for case in (a, b)),
           _CASE.format(*c, ""))  # fmt: skip
    left = call("total.py", "--unrun", tmp_path).stdout.split("\n")
    assert left == [
        "tests/privileged/test_a.py::works[1-x]",
        "tests/privileged/test_b.py::TestGroup::works",
        "",
    ]
    report(tmp_path / "small.xml", _CASE.format(*a, ""), _CASE.format(*b, _SKIPPED))
    assert call("total.py", "--unrun", tmp_path).stdout == f"{left[1]}\n"
    total = call("total.py", "3", "0", tmp_path)
    assert total.stdout.endswith("1 skipped, each with its reason above\n5 passed, 0 failed\n")
    assert total.returncode == 0


def test_a_failure_is_counted_and_told(tmp_path: Path) -> None:
    report(tmp_path / "x.xml", _CASE.format("test_a", "breaks", "<failure>because</failure>"))
    total = call("total.py", "0", "0", tmp_path)
    assert total.stdout == (
        "failure: tests.privileged.test_a::breaks\n    because\n0 passed, 1 failed\n"
    )
    assert total.returncode == 1


def test_torn_pieces_of_coverage_are_left_out_without_a_warning(tmp_path: Path) -> None:
    whole = tmp_path / "coverage.whole"
    data = CoverageData(str(whole))
    data.add_lines({str(ROOT / "ci/total.py"): [1, 2, 3]})
    data.write()
    content = whole.read_bytes()
    (tmp_path / "coverage.empty").write_bytes(b"")
    (tmp_path / "coverage.short").write_bytes(content[: len(content) // 2])
    (tmp_path / "coverage.noise").write_bytes(os.urandom(4096))
    (tmp_path / "coverage.journal-journal").write_bytes(b"left by a kill")
    sqlite3.connect(tmp_path / "coverage.bare").close()
    done = call("combine.py", tmp_path, tmp_path / "nowhere",
                COVERAGE_FILE=str(tmp_path / "coverage"))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "pieces of coverage data: 1, 4 torn by a kill left out\n"
    combined = CoverageData(str(tmp_path / "coverage"))
    combined.read()
    assert combined.lines(str(ROOT / "ci/total.py")) == [1, 2, 3]
