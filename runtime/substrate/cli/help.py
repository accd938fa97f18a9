"""Help, from the table of a program, by click.

The click commands here describe and complete; they are never run. Loading click costs three
times what a verb does, so only help and completion come here.
"""

from __future__ import annotations

import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from substrate.cli import grammar as table
from substrate.cli.options import RUNTIME
from substrate.cli.parse import Arguments, read_number, read_user, unknown_verb
from substrate.cli.terminal import write

_WIDEST = 100


def run(arguments: Arguments) -> int:
    """Print the help of the verb that was named, or of the program."""
    show(RUNTIME, arguments)
    return 0


def show(shown: table.Program, arguments: Arguments) -> None:
    """Print the help of the verb of a program that the operand names, or of the program."""
    name = arguments.operands[0] if arguments.operands else None
    write(render(shown, name, terminal_width()))


def render(shown: table.Program, name: str | None, width: int) -> str:
    """Return the help of one verb, or of the program, at most `width` columns wide."""
    root = program(shown)
    command: click.Command = root
    path = shown.name
    if name is not None:
        if name not in root.commands:
            raise unknown_verb(shown, name)
        command = root.commands[name]
        path = f"{path} {name}"
    context = click.Context(command, info_name=path, terminal_width=width)
    return command.get_help(context) + "\n"


def program(shown: table.Program) -> click.Group:
    """Return a whole command line as click commands."""
    root = _Program(
        shown.name,
        help=shown.summary,
        params=[_option(option) for option in shown.options],
        commands={verb.name: _command(shown, verb) for verb in shown.verbs},
        add_help_option=False,
        subcommand_metavar=shown.usage,
        options_metavar="[OPTIONS]",
    )
    root.shown = shown
    return root


class _Program(click.Group):
    """The help of the program: verbs in the table's order, then the exit statuses."""

    shown: table.Program

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb.name, verb.summary) for verb in self.shown.verbs])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl(list(self.shown.exit_statuses))
        formatter.write_paragraph()
        formatter.write_text(f"`{self.shown.name} help VERB` has the options of a verb.")


class _VerbCommand(click.Command):
    """The help of one verb: its examples after its options."""

    examples: tuple[str, ...] = ()
    program_name = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            # Verbatim: a wrapped command line could not be pasted.
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        formatter.write_paragraph()
        formatter.write_text(
            f"`{self.program_name} --help` has the options that go before the verb and the exit"
            " statuses."
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        # After the id of `exec` every word is the command's, whose options are not ours.
        if not ctx.allow_interspersed_args and (ctx.params.get("id") or ctx.params.get("command")):
            return []
        return super().shell_complete(ctx, incomplete)


def _command(shown: table.Program, verb: table.Verb) -> click.Command:
    params: list[click.Parameter] = [_operand(shown, verb, operand) for operand in verb.operands]
    if verb.takes_command:
        params.append(
            click.Argument(
                ["command"], nargs=-1, type=click.UNPROCESSED, metavar=f"[{verb.command_name}…]"
            )
        )
    params += [_option(option) for option in (*verb.options, table.HELP)]
    command = _VerbCommand(
        verb.name,
        help=f"{verb.summary}.\n\n{verb.description}",
        short_help=verb.summary,
        params=params,
        add_help_option=False,
        context_settings={"allow_interspersed_args": not verb.takes_command},
    )
    command.examples = verb.examples
    command.program_name = shown.name
    return command


def operand_key(verb: table.Verb, operand: table.Operand) -> str:
    """Return the name click knows an operand by: no option has the same."""
    name = operand.name.lower().replace("-", "_")
    taken = any(f"--{operand.name.lower()}" in option.names for option in verb.options)
    return f"{name}_operand" if taken else name


def _operand(shown: table.Program, verb: table.Verb, operand: table.Operand) -> click.Argument:
    metavar = operand.name + ("…" if operand.repeat else "")
    return click.Argument(
        [operand_key(verb, operand)],
        required=operand.required,
        nargs=-1 if operand.repeat else 1,
        type=click.Choice(operand.choices) if operand.choices else None,
        metavar=metavar if operand.required else f"[{metavar}]",
        shell_complete=_complete_verb(shown) if operand.name == "VERB" else None,
    )


def _option(option: table.Option) -> click.Option:
    flag = option.kind == table.FLAG
    return click.Option(
        [*option.names, option.key],
        is_flag=flag,
        multiple=option.kind == table.MANY,
        type=None if flag else _value_type(option),
        metavar=option.metavar or None,
        default=False if flag else option.default,
        show_default=not flag and option.default is not None,
        help=option.help,
        is_eager=option.key in ("help", "version"),
    )


def _value_type(option: table.Option) -> Any:
    # The functions of the fast parser, so that both readers read a value alike.
    if option.kind == table.NUMBER:
        return read_number
    if option.kind == table.USER:
        return read_user
    if option.kind == table.CHOICE:
        return click.Choice(option.choices)
    if option.metavar in ("DIR", "FILE", "PATH"):
        # Paths complete as paths; whether they exist is for the verb to say.
        return click.Path(file_okay=option.metavar != "DIR")
    return click.STRING


def _complete_verb(shown: table.Program) -> Any:
    def complete(
        _context: click.Context, _parameter: click.Parameter, start: str
    ) -> list[CompletionItem[Any]]:
        return [
            CompletionItem(verb.name, help=verb.summary)
            for verb in shown.verbs
            if verb.name.startswith(start)
        ]

    return complete


def terminal_width() -> int:
    """Return how wide help may be on standard output."""
    if not sys.stdout.isatty():
        return 80
    import shutil

    return min(shutil.get_terminal_size().columns, _WIDEST)
