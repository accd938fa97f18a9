"""The fast parser and click, reading the same table, agree on every command line."""

from __future__ import annotations

from typing import Any

import click
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from substrate.cli import options as table
from substrate.cli.help import operand_key, program
from substrate.cli.parse import parse
from substrate.errors import UsageError
from tests.support.examples import examples

Outcome = tuple[str, dict[str, Any], tuple[str, ...], tuple[str, ...]] | str


class _ShortcutError(Exception):
    """click met --help or --version."""


def _read_fast(words: list[str]) -> Outcome:
    try:
        arguments = parse(table.RUNTIME, words)
    except UsageError:
        return "error"
    if arguments.verb in ("help", "version"):
        return _shown(arguments.verb, arguments.operands)
    found = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in arguments._values.items()
    }
    return arguments.verb, found, arguments.operands, arguments.command


def _shown(verb: str, operands: tuple[str, ...]) -> str:
    # `help create` and `create --help` show the same.
    return " ".join((verb, *operands))


def _read_with_click(words: list[str]) -> Outcome:
    root = program(table.RUNTIME)
    _attach(root, None)
    for verb in table.VERBS:
        _attach(root.commands[verb.name], verb)
    try:
        outcome: Outcome = root.main(list(words), table.PROGRAM, standalone_mode=False)
    except _ShortcutError as shortcut:
        return str(shortcut)
    except click.UsageError:
        return "error"
    return outcome


def _attach(command: click.Command, verb: table.Verb | None) -> None:
    """Make a click command return what it read, and refuse `-name` as the fast parser does."""

    def refuse(_context: click.Context, _parameter: click.Parameter, given: bool) -> None:
        if given:
            raise click.UsageError("two dashes")

    for parameter in list(command.params):
        if not isinstance(parameter, click.Option):
            continue
        if parameter.name in ("help", "version"):
            parameter.callback = _shortcut(verb)
        for name in parameter.opts:
            if name.startswith("--"):
                single = click.Option(
                    [name[1:], "single_" + name[2:].replace("-", "_")],
                    is_flag=True,
                    is_eager=True,
                    expose_value=False,
                    callback=refuse,
                )
                command.params.append(single)
    if verb is not None:
        command.callback = _result(verb)


def _shortcut(verb: table.Verb | None) -> Any:
    def stop(_context: click.Context, parameter: click.Parameter, given: bool) -> None:
        if given:
            raise _ShortcutError(_shown(str(parameter.name), (verb.name,) if verb else ()))

    return stop


def _result(verb: table.Verb) -> Any:
    def result(**values: Any) -> Outcome:
        context = click.get_current_context()
        assert context.parent is not None
        found = _given(context.parent.params, table.GLOBAL_OPTIONS)
        found |= _given(values, verb.options)
        operands: list[str] = []
        for operand in verb.operands:
            value = values[operand_key(verb, operand)]
            operands += value if operand.repeat else [] if value is None else [value]
        command = tuple(values.get("command", ()))
        if verb.takes_command and verb.operands and command[:1] == ("--",):
            command = command[1:]
        if verb.name == "help":
            return _shown("help", tuple(operands))
        return verb.name, found, tuple(operands), command

    return result


def _given(values: dict[str, Any], options: tuple[table.Option, ...]) -> dict[str, Any]:
    found = {}
    for option in options:
        value = values.get(option.key)
        if option.kind == table.USER and isinstance(value, tuple):
            value = ":".join(str(part) for part in value if part is not None)
        if value not in (None, False, ()):
            found[option.key] = value
    return found


_VERBS = [verb.name for verb in table.VERBS]
_NAMES = sorted(
    {
        name
        for options in (table.GLOBAL_OPTIONS, *(verb.options for verb in table.VERBS))
        for option in options
        for name in option.names
    }
)
_LETTERS = [name[1:] for name in _NAMES if len(name) == 2]
_VALUES = st.sampled_from(
    ["", "-", "--", "x", "15", "-1", "json", "table", "text", "1000:5", "A=1", "native", "bash"]
)
_WORDS = st.one_of(
    st.sampled_from(_NAMES),
    st.builds("{}={}".format, st.sampled_from(_NAMES), _VALUES),
    st.builds(lambda name: name[1:], st.sampled_from([n for n in _NAMES if n[1] == "-"])),
    st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=3).map(lambda s: "-" + "".join(s)),
    st.builds("-{}{}".format, st.sampled_from(_LETTERS), _VALUES),
    _VALUES,
    st.sampled_from(_VERBS),
    st.text(alphabet="-=abx1 é\n", max_size=4),
)


@st.composite
def _sensible_lines(draw: st.DrawFn) -> list[str]:
    """Lines that are mostly right: a verb's own options around its operands."""
    verb = draw(st.sampled_from(table.VERBS))
    words = _spell_some(draw, table.GLOBAL_OPTIONS)
    words.append(verb.name)
    words += _spell_some(draw, verb.options)
    for operand in verb.operands:
        if operand.required or draw(st.booleans()):
            words.append(draw(st.sampled_from(operand.choices or ("web", "15", "-", "a b"))))
    if draw(st.booleans()):
        words += _spell_some(draw, verb.options)
    if verb.takes_command and draw(st.booleans()):
        words += draw(st.lists(_WORDS, max_size=4))
    return words


def _spell_some(draw: st.DrawFn, options: tuple[table.Option, ...]) -> list[str]:
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from(options), max_size=3)) if options else ():
        name = draw(st.sampled_from(option.names))
        if option.kind == table.FLAG:
            words.append(name)
            continue
        value = {table.NUMBER: "3", table.USER: "5:6"}.get(option.kind, "v")
        value = draw(st.sampled_from(option.choices)) if option.choices else value
        if len(name) == 2:
            words += draw(st.sampled_from([[name, value], [name + value]]))
        else:
            words += draw(st.sampled_from([[name, value], [f"{name}={value}"]]))
    return words


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_sensible_lines())
def test_both_readers_agree_on_lines_that_are_mostly_right(words: list[str]) -> None:
    assert _read_fast(words) == _read_with_click(words)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(["create", "--help", "--bogus"])
@example(["create", "--preserve-fds", "x", "--help"])
@example(["--log-format", "xml", "--log-format", "json", "list"])
@example(["create", "-b=x", "web"])
@example(["--version", "--help"])
@example(["exec", "web", "--", "--"])
@given(st.lists(_WORDS, max_size=7))
def test_both_readers_agree_on_any_words(words: list[str]) -> None:
    assert _read_fast(words) == _read_with_click(words)
