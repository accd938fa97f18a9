"""Write docs/reference/substrate-runtime.md and substrate.md from the tables of the command lines.

Usage: python ci/docs_cli.py          (a test fails when a page and its table differ)
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"

sys.path.insert(0, str(ROOT / "runtime"))

from substrate.cli import options as table  # noqa: E402 -- after the source root is on the path
from substrate.cli.front.table import PROGRAM as SUBSTRATE  # noqa: E402
from substrate.cli.grammar import Program  # noqa: E402, TC001 -- as the others

_SYNTAX = """\
Options take their value as `--name value`, `--name=value` or `-n value`; flags of one letter can
be joined; `--` ends the options. The options in the next section go before the verb, those of a
verb after it.

"""

_RUNTIME = f"""\
Runs OCI bundles in worlds: containers whose every change can be seen. Verbs, options and log
follow runc; crun's options are accepted too.

{_SYNTAX}An error is one line on standard error, `{table.PROGRAM}: message`, and mostly a second
line, `hint: …`. With `--log FILE` it is also appended to FILE, as one line for people or, with
`--log-format json`, as one JSON object with `level`, `msg` and `time`. Nothing is written to FILE
on success.

"""

_SUBSTRATE = f"""\
{SUBSTRATE.summary}

{_SYNTAX}An error is one line on standard error, `{SUBSTRATE.name}: message`, and mostly a second
line, `hint: …`.

"""

_TAIL = """
## Environment and files

| what | root | an ordinary user |
|---|---|---|
| state: one small directory a world | `/run/substrate` | `$XDG_RUNTIME_DIR/substrate` |
| data: the layers, what worlds changed | `/var/lib/substrate` | `$XDG_DATA_HOME/substrate` |
| cache: may be removed at any time | `/var/cache/substrate` | `$XDG_CACHE_HOME/substrate` |

`SUBSTRATE_HOME` puts all three under one directory, as `state`, `data` and `cache`. `--root DIR`
names the state directory, and data is then `DIR-data` beside it. The XDG variables have their
usual defaults; without a runtime directory of its own, an ordinary user's state is in
`/tmp/substrate-UID`. A directory that others could change is refused. A world belongs to the
state directory it was made in: another user, or another `SUBSTRATE_HOME`, does not see it.
"""

_TEXTS = {"substrate-runtime": (table.RUNTIME, _RUNTIME), "substrate": (SUBSTRATE, _SUBSTRATE)}
_FILES = {"substrate-runtime": "cli/options.py", "substrate": "cli/front/table.py"}


def page(name: str) -> str:
    """Return the reference page of a program in Markdown."""
    program, text = _TEXTS[name]
    parts = [
        f"<!-- Written by ci/docs_cli.py from runtime/substrate/{_FILES[name]}: change the table."
        f" -->\n\n# {name}\n\n    {name} [OPTIONS] {program.usage}\n\n{text}",
        "## Global options\n\n",
        _options(program.options),
        "\n## Verbs\n\n",
    ]
    parts += [f"- [`{verb.name}`](#{verb.name}): {verb.summary}\n" for verb in program.verbs]
    parts += [_verb(program, verb) for verb in program.verbs]
    parts += ["\n## Exit status\n\n", "| status | meaning |\n|---|---|\n"]
    parts += [f"| {status} | {meaning} |\n" for status, meaning in program.exit_statuses]
    parts.append(_TAIL)
    return "".join(parts)


def _verb(program: Program, verb: table.Verb) -> str:
    words = [program.name, verb.name, *(["[OPTIONS]"] if verb.options else [])]
    for operand in verb.operands:
        name = operand.name + ("…" if operand.repeat else "")
        words.append(name if operand.required else f"[{name}]")
    if verb.takes_command:
        words.append(f"[{verb.command_name}…]")
    parts = [f"\n### {verb.name}\n\n    {' '.join(words)}\n\n{verb.summary}. {verb.description}\n"]
    parts += [
        f"\n{operand.name} is one of {_choices(operand.choices)}.\n"
        for operand in verb.operands
        if operand.choices
    ]
    if verb.takes_command:
        after = f"after {verb.operands[-1].name}" if verb.operands else "that is no option"
        parts.append(
            f"\nThe first word {after} starts {verb.command_name}; no option in it is read."
            " A `--` before it is dropped.\n"
        )
    if verb.options:
        parts.append("\n" + _options(verb.options))
    parts.append("\nExamples:\n\n")
    parts += [f"    {example}\n" for example in verb.examples]
    return "".join(parts)


def _options(options: tuple[table.Option, ...]) -> str:
    rows = "".join(_row(option) for option in options)
    return f"| option | meaning |\n|---|---|\n{rows}"


def _row(option: table.Option) -> str:
    names = ", ".join(f"`{name}`" for name in reversed(option.names))
    value = f" {option.metavar}" if option.metavar else ""
    meaning = option.help
    if option.choices:
        meaning += f" One of {_choices(option.choices)}."
    if option.default is not None:
        meaning += f" Default: `{option.default}`."
    return f"| {names}{value} | {meaning} |\n"


def _choices(choices: tuple[str, ...]) -> str:
    return ", ".join(f"`{choice}`" for choice in choices)


if __name__ == "__main__":
    for name in _TEXTS:
        (REFERENCE / f"{name}.md").write_text(page(name), encoding="utf-8")
