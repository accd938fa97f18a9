"""Print one line that counts every test and check; exit 1 unless all passed.

Usage: total.py PASSED FAILED FOLDER: the checks so far, and the folder of pytest's XML reports.
Failed tests are named once more, with the end of what they said: the reader of a long record has
often only its last page.
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
    skipped = 0
    for report in sorted(folder.glob("*.xml")):
        for suite in ET.parse(report).iter("testsuite"):  # noqa: S314 -- written by our pytest
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            left_out = int(suite.get("skipped", 0))
            failed += bad
            skipped += left_out
            passed += int(suite.get("tests", 0)) - bad - left_out
            for line in told(suite):
                print(line)
    if skipped:
        print(f"{skipped} skipped, each with its reason above")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def told(suite: ET.Element) -> Iterator[str]:
    """Yield the lines that tell of each failed test of the suite."""
    for case in suite.iter("testcase"):
        for kind in ("failure", "error"):
            for problem in case.iter(kind):
                yield f"{kind}: {case.get('classname')}::{case.get('name')}"
                lines = (problem.text or problem.get("message") or "").splitlines()
                yield from (f"    {line}" for line in lines[-LINES_OF_A_FAILURE:])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
