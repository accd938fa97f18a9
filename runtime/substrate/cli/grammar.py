"""The rows of the command-line table: what an option, an operand and a verb are made of.

Plain slotted classes: the table is built on every call, and a row costs 0.5 µs; a `record` costs
six times that, for about 100 rows.
"""

from __future__ import annotations

# What an option's value is; `Arguments` has one accessor for each, and `.text` for CHOICE.
FLAG = "flag"
TEXT = "text"
MANY = "many"
NUMBER = "number"
CHOICE = "choice"
USER = "user"


class Option:
    """One option: its spellings, the key verbs ask for it by, and what it takes."""

    __slots__ = ("choices", "default", "help", "key", "kind", "metavar", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        help: str,  # noqa: A002 -- the word every reader of this table expects
        kind: str = FLAG,
        metavar: str = "",
        default: str | None = None,
        choices: tuple[str, ...] = (),
        key: str = "",
    ) -> None:
        self.names = names
        self.key = key or names[0][2:].replace("-", "_")
        self.kind = kind
        self.metavar = metavar
        self.help = help
        self.choices = choices
        self.default = default


HELP = Option(("--help", "-h"), "Show this help and exit.")
JSON = Option(("--json",), "Print JSON instead of text.")


class Operand:
    """One positional argument; `repeat` means all that remain."""

    __slots__ = ("choices", "name", "repeat", "required")

    def __init__(
        self,
        name: str,
        required: bool = True,
        repeat: bool = False,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.required = required
        self.repeat = repeat
        self.choices = choices


class Verb:
    """One verb: its words, and the module whose `run` carries it out.

    With `takes_command` the first word after the operands starts a command, which is taken as it
    is: no option in it is ours. Otherwise options and operands may come in any order.
    """

    __slots__ = (
        "command_name",
        "description",
        "examples",
        "module",
        "name",
        "operands",
        "options",
        "summary",
        "takes_command",
    )

    def __init__(  # noqa: PLR0913, PLR0917 -- one parameter for each column of the table
        self,
        name: str,
        summary: str,
        description: str,
        examples: tuple[str, ...],
        operands: tuple[Operand, ...] = (),
        options: tuple[Option, ...] = (),
        takes_command: bool = False,
        command_name: str = "COMMAND",
        module: str = "",
    ) -> None:
        self.name = name
        self.module = module or "substrate.cli.verbs." + name
        self.summary = summary
        self.description = description
        self.examples = examples
        self.operands = operands
        self.options = options
        self.takes_command = takes_command
        self.command_name = command_name


class Program:
    """One executable: the options before a verb, its verbs, the meaning of its exit statuses."""

    __slots__ = ("exit_statuses", "name", "options", "summary", "usage", "verbs")

    def __init__(
        self,
        name: str,
        summary: str,
        options: tuple[Option, ...],
        verbs: tuple[Verb, ...],
        exit_statuses: tuple[tuple[str, str], ...],
        usage: str = "VERB …",
    ) -> None:
        self.name = name
        self.summary = summary
        self.options = options
        self.verbs = verbs
        self.exit_statuses = exit_statuses
        self.usage = usage

    def verb_named(self, name: str) -> Verb | None:
        """Return the row of a verb, or None."""
        for verb in self.verbs:
            if verb.name == name:
                return verb
        return None
