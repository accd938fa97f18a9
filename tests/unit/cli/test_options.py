"""The table of the command line, and what the verbs read from it."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from substrate.cli import front as front_package
from substrate.cli import options as table
from substrate.cli import verbs
from substrate.cli.front import table as front
from substrate.cli.parse import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from substrate.cli.grammar import Program

PROGRAMS = (table.RUNTIME, front.PROGRAM)
EVERY_VERB = pytest.mark.parametrize(
    ("program", "verb"),
    [(program, verb) for program in PROGRAMS for verb in program.verbs],
    ids=lambda row: row.name,
)
_ACCESSORS = {
    "flag": {table.FLAG},
    "text": {table.TEXT, table.CHOICE, table.USER},
    "many": {table.MANY},
    "number": {table.NUMBER},
    "user": {table.USER},
}


@EVERY_VERB
def test_every_verb_has_a_summary_a_description_and_an_example(
    program: Program, verb: table.Verb
) -> None:
    assert verb.module.startswith("substrate.cli."), program.name
    assert verb.summary[0].isupper()
    assert not verb.summary.endswith(".")
    assert verb.description.endswith(".")
    assert verb.examples


@EVERY_VERB
def test_every_example_can_be_typed(program: Program, verb: table.Verb) -> None:
    for example in verb.examples:
        words = example.split(" > ")[0].replace("'", "").split()
        assert words[0] == program.name
        assert parse(program, words[1:]).verb == verb.name


@EVERY_VERB
def test_every_option_is_described_and_unambiguous(program: Program, verb: table.Verb) -> None:
    options = (*verb.options, table.HELP)
    names = [name for option in options for name in option.names]
    assert len(names) == len(set(names))
    keys = [option.key for option in options]
    assert len(keys) == len(set(keys))
    for option in (*options, *program.options):
        assert option.help.endswith("."), option.names
        assert option.names[0].startswith("--")
        assert bool(option.choices) == (option.kind == table.CHOICE)
        assert bool(option.metavar) == (option.kind not in (table.FLAG, table.CHOICE))
        assert option.default is None or not option.choices or option.default in option.choices


@EVERY_VERB
def test_an_option_of_a_verb_shares_a_key_only_with_the_same_global_option(
    program: Program, verb: table.Verb
) -> None:
    known = {option.key: option for option in program.options}
    for option in verb.options:
        assert option.key not in known or known[option.key] is option


@EVERY_VERB
def test_optional_and_repeated_operands_come_last(program: Program, verb: table.Verb) -> None:
    required = [operand.required for operand in verb.operands]
    assert required == sorted(required, reverse=True)
    assert not any(operand.repeat for operand in verb.operands[:-1])


@pytest.mark.parametrize(
    ("program", "folder"),
    [(table.RUNTIME, verbs.__path__[0]), (front.PROGRAM, front_package.__path__[0])],
    ids=["substrate-runtime", "substrate"],
)
def test_every_verb_module_has_a_row_and_asks_only_for_options_that_exist(
    program: Program, folder: str
) -> None:
    rows = {verb.module.rpartition(".")[2]: verb for verb in program.verbs}
    for file in sorted(Path(folder).glob("[!_]*.py")):
        if file.stem not in rows:
            # Shared by several verbs: each key must at least be known to one of them.
            options = [option for verb in program.verbs for option in verb.options]
        else:
            options = list(rows[file.stem].options)
        kinds: dict[str, set[str]] = {}
        for option in (*options, *program.options):
            kinds.setdefault(option.key, set()).add(option.kind)
        for accessor, key, line in _accesses(file):
            where = f"{file.name}:{line}: .{accessor}({key!r})"
            assert key in kinds, f"{where}: no such option in the table"
            assert kinds[key] & _ACCESSORS[accessor], f"{where}: it is {kinds[key]}"


@pytest.mark.parametrize(
    "module", sorted({verb.module for program in PROGRAMS for verb in program.verbs})
)
def test_every_module_in_the_table_is_there(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


def _accesses(file: Path) -> Iterator[tuple[str, str, int]]:
    """Yield accessor, key and line of every `arguments.text("key")` in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "arguments"
            and node.func.attr in _ACCESSORS
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.func.attr, str(node.args[0].value), node.lineno
