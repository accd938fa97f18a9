"""Our own sources as the architecture tests read them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "runtime/substrate"


def modules() -> list[Path]:
    """Return every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def python_files() -> list[Path]:
    """Return every Python file of the repository that people write."""
    return sorted([*modules(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "ci").rglob("*.py")])


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def line_count(path: Path) -> int:
    """Return how many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of a file, inner ones and methods too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def documents() -> list[Path]:
    """Return every Markdown file of the repository."""
    folders = ("docs", "bundles", "ci", ".github")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.md")]
    return sorted([ROOT / "README.md", *found])
