"""Golden files: expected output as reviewable text under tests/golden/.

`pytest --update-golden` writes what came out; the difference is then read in the diff.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


class Golden:
    """Compares texts with the files of the same name."""

    def __init__(self, update: bool, folder: Path = GOLDEN) -> None:
        self._update = update
        self._folder = folder

    def __call__(self, name: str, text: str) -> None:
        """Fail unless `text` is the content of tests/golden/`name`."""
        __tracebackhide__ = True
        path = self._folder / name
        text = text if text.endswith("\n") else text + "\n"
        expected = path.read_text(encoding="utf-8") if path.exists() else None
        if text == expected:
            return
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        lines = difflib.unified_diff(
            (expected or "").splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm=""
        )
        hint = "if that is right: pytest --update-golden"
        pytest.fail("\n".join([*lines, hint]), pytrace=False)
