"""Combine coverage data, of which a killed process may have left a torn piece.

Usage: combine.py FOLDER…      the pieces in these folders, into $COVERAGE_FILE

Tests kill processes at every step, also while they write what they have measured. Such a piece is
left out, and counted; any other problem fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException


def main(folders: list[Path]) -> int:
    """Combine the pieces; return the exit status."""
    whole: list[str] = []
    torn = 0
    name = Path(os.environ["COVERAGE_FILE"]).name
    for path in sorted(path for folder in folders for path in folder.glob(f"{name}.*")):
        if path.name.endswith("-journal"):
            continue
        if is_readable(path):
            whole.append(str(path))
        else:
            torn += 1
            path.unlink()
    if not whole:
        print("nothing was measured")
        return 1
    combined = Coverage()
    combined.combine(whole, strict=True)
    combined.save()
    left_out = f", {torn} torn by a kill left out" if torn else ""
    print(f"pieces of coverage data: {len(whole)}{left_out}")
    return 0


def is_readable(path: Path) -> bool:
    """Return whether a piece was written to its end."""
    if path.stat().st_size == 0:
        return False
    try:
        piece = CoverageData(str(path))
        piece.read()
        for file in piece.measured_files():
            piece.lines(file)
    except CoverageException:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
