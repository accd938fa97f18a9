"""The shape of the code: sizes and names that a reader can rely on."""

from __future__ import annotations

import ast
import re
import statistics

from tests.support import source

_LONGEST_FILE = 500
_MEDIAN_FILE = 150
_LONGEST_FUNCTION = 60
# Words that say nothing about what a thing is; see docs/explanation/architecture.md.
_EMPTY_WORDS = {"manager", "helper", "helpers", "util", "utils", "handler", "impl", "misc"}
_EMPTY_PREFIXES = ("do_", "handle_")


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    too_long = {
        str(path.relative_to(source.ROOT)): lines
        for path in source.python_files()
        if (lines := source.line_count(path)) > _LONGEST_FILE
    }
    assert too_long == {}


def test_the_usual_file_is_short() -> None:
    sizes = [source.line_count(path) for path in source.modules()]
    assert statistics.median(sizes) <= _MEDIAN_FILE


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = {
        f"{path.relative_to(source.ROOT)}: {function.name}": lines
        for path in source.python_files()
        for function in source.functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > _LONGEST_FUNCTION
    }
    assert too_long == {}


def test_every_module_begins_with_what_lives_there() -> None:
    silent = [
        str(path.relative_to(source.ROOT))
        for path in [*source.modules(), *(source.ROOT / "ci").rglob("*.py")]
        if not ast.get_docstring(source.tree(path))
    ]
    assert silent == []


def test_names_say_something() -> None:
    empty: list[str] = []
    for path in source.modules():
        names = [path.stem, *(function.name for function in source.functions(path))]
        names += [
            node.name for node in ast.walk(source.tree(path)) if isinstance(node, ast.ClassDef)
        ]
        for name in names:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_")
            if _EMPTY_WORDS & set(words.split("_")) or words.startswith(_EMPTY_PREFIXES):
                empty.append(f"{path.relative_to(source.ROOT)}: {name}")
    assert empty == []
