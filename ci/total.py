"""Print one line that counts every test and check; exit 1 unless all passed.

Usage: total.py PASSED FAILED FOLDER: the checks so far, and the folder of pytest's XML reports.
       total.py --unrun FOLDER: name the tests that every report has skipped, as pytest does

Failed tests are named once more, with the end of what they said: the reader of a long record has
often only its last page. A test that one machine skipped and another one ran is not skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES_OF_A_FAILURE = 25


def main(passed: int, failed: int, folder: Path) -> int:
    """Add up and print; a run in which nothing passed has failed."""
    for suite in suites(folder):
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        failed += bad
        passed += int(suite.get("tests", 0)) - bad - int(suite.get("skipped", 0))
        for line in told(suite):
            print(line)
    skipped = len(unrun(folder))
    if skipped:
        print(f"{skipped} skipped, each with its reason above")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def suites(folder: Path) -> Iterator[ET.Element]:
    """Yield what each run of pytest has reported."""
    for report in sorted(folder.glob("*.xml")):
        yield from ET.parse(report).iter("testsuite")  # noqa: S314 -- written by our pytest


def unrun(folder: Path) -> list[str]:
    """Return the node ids of the tests that were skipped wherever they were collected."""
    skipped: set[str] = set()
    ran: set[str] = set()
    for suite in suites(folder):
        for case in suite.iter("testcase"):
            (ran if case.find("skipped") is None else skipped).add(node_id(case))
    return sorted(skipped - ran)


def node_id(case: ET.Element) -> str:
    """Return the words by which pytest runs a test case again."""
    parts = (case.get("classname") or "").split(".")
    names = [case.get("name") or ""]
    while parts and parts[-1][:1].isupper():
        names.insert(0, parts.pop())
    return "::".join(["/".join(parts) + ".py", *names])


def told(suite: ET.Element) -> Iterator[str]:
    """Yield the lines that tell of each failed test of the suite."""
    for case in suite.iter("testcase"):
        for kind in ("failure", "error"):
            for problem in case.iter(kind):
                yield f"{kind}: {case.get('classname')}::{case.get('name')}"
                lines = (problem.text or problem.get("message") or "").splitlines()
                yield from (f"    {line}" for line in lines[-LINES_OF_A_FAILURE:])


if __name__ == "__main__":
    if sys.argv[1] == "--unrun":
        print(*unrun(Path(sys.argv[2])), sep="\n")
        sys.exit()
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
