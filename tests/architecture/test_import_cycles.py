"""No module needs a module that needs it, not even by an import inside a function.

Such an import makes the start quick; it is no way round a bad cut. Types may refer to each other.
"""

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
    names = set(_imports(source.tree(path)))
    return {name for name in names if name in known}  # type: ignore[operator]


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            # `from package import module` needs the module; of names that are none, nobody is.
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not _is_for_type_checkers(child):
            yield from _imports(child)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )
