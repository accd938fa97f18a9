"""No module needs, while it is being imported, a module that needs it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.support import source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_no_import_goes_round_in_a_circle() -> None:
    paths = {_module_name(path): path for path in source.modules()}
    needs = {name: _imported(path, paths.keys()) - {name} for name, path in paths.items()}
    # Whoever needs nothing that is left can go; a circle is what never can.
    while ready := {name for name, wanted in needs.items() if not wanted & needs.keys()}:
        needs = {name: wanted for name, wanted in needs.items() if name not in ready}
    assert needs == {}


def _module_name(path: Path) -> str:
    parts = path.relative_to(source.PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, known: object) -> set[str]:
    names = set(_imports_at_load(source.tree(path).body))
    return {name for name in names if name in known}  # type: ignore[operator]


def _imports_at_load(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            # `from package import module` needs the module; of names that are none, nobody is.
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.If) and not _is_for_type_checkers(statement):
            yield from _imports_at_load([*statement.body, *statement.orelse])


def _is_for_type_checkers(statement: ast.If) -> bool:
    return isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING"
