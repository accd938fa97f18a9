"""What a person writes into a project, recognisable wherever it is afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_SIGN = "a person wrote this: "


def written_by_person(*roots: str) -> set[str]:
    """Return every text of the person's that is in a file below one of the roots."""
    found: set[str] = set()
    for root in roots:
        for folder, _, files in os.walk(root):
            for name in files:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    text = path.read_text("utf-8", "replace")
                    found.update(part for part in text.split("|") if part.startswith(_SIGN))
    return found


def marked(actions: list[list[Any]]) -> list[list[Any]]:
    """Return a person's actions, each text of them recognisable."""
    for number, action in enumerate(actions):
        if action[0] in {"write", "append", "file"}:
            action[2] = f"|{_SIGN}{number}|"
    return actions
