"""The command line in, `Arguments` out: the parser of every call.

It reads the table of a program (`options.py`, `front/table.py`) as GNU's getopt_long would:
`--name value`, `--name=value`, `-n value`, `-nvalue`, clustered flags, `--` ends the options. A
single dash before a long name, which Go programs take, is refused by name: `-detach` would
otherwise mean `-d -e tach`.

argparse costs 6 ms to import and click 24, several times what a whole verb costs; click reads the
same table for help and completion (`help.py`), and a test holds the two readers equal.
"""

from __future__ import annotations

from substrate.cli import grammar as table
from substrate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from substrate.cli.grammar import Option, Program, Verb

    Value = str | int | bool | list[str]
    Values = dict[str, Value]

# (uid_t) -1 means "leave unchanged" to the kernel, so it is nobody's id.
_HIGHEST_ID = 0xFFFF_FFFE
_HIGHEST_NUMBER = 0x7FFF_FFFF


class Arguments:
    """What a call asked for: one verb, its options and the global ones, operands, a command.

    An option that was not given has its default from the table, else False, None or ().
    """

    __slots__ = ("_values", "command", "operands", "verb")

    def __init__(
        self,
        verb: str,
        values: Values,
        operands: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
    ) -> None:
        self.verb = verb
        self._values = values
        self.operands = operands
        self.command = command

    def values(self) -> Values:
        """Return a copy of the raw values of all options."""
        return dict(self._values)

    def flag(self, key: str) -> bool:
        """Return whether a flag was given."""
        return self._values.get(key) is True

    def text(self, key: str) -> str | None:
        """Return the value of a TEXT, CHOICE or USER option; the last one given counts."""
        value = self._values.get(key)
        return value if isinstance(value, str) else None

    def many(self, key: str) -> tuple[str, ...]:
        """Return every value of an option that may be given again, in order."""
        value = self._values.get(key)
        return tuple(value) if isinstance(value, list) else ()

    def number(self, key: str) -> int | None:
        """Return the value of a NUMBER option, which is never negative."""
        value = self._values.get(key)
        return value if isinstance(value, int) and value is not True else None

    def user(self, key: str) -> tuple[int, int | None] | None:
        """Return a USER option as user id and group id; the group id is None when left out."""
        value = self.text(key)
        return None if value is None else read_user(value)


def parse(program: Program, words: Sequence[str], values: Values | None = None) -> Arguments:
    """Return the arguments a command line of the program means.

    `values` is filled with the global options as they are read, so that after a `UsageError` the
    caller still knows where the log is. `--help` and `--version` come back as the verbs `help`
    and `version`.
    """
    values = {} if values is None else values
    shortcut, rest = parse_options(program, words, values)
    if shortcut:
        return Arguments(shortcut, values)
    if not rest:
        raise UsageError("no verb was given", _hint(program, None))
    verb = program.verb_named(rest[0])
    if verb is None:
        raise unknown_verb(program, rest[0])
    return parse_verb(program, verb, rest[1:], values)


def parse_options(program: Program, words: Sequence[str], values: Values) -> tuple[str, list[str]]:
    """Read the options before a verb into `values`; return `help` or `version`, and the rest."""
    scan = _Scan(program, words, None, values)
    rest = scan.read()
    if not scan.shortcut:
        _finish(scan)
    return scan.shortcut, rest


def unknown_verb(program: Program, name: str) -> UsageError:
    """Return the error for a word that names no verb."""
    names = [verb.name for verb in program.verbs]
    message = f"there is no verb {name!r}{_did_you_mean(name, names)}"
    return UsageError(message, _hint(program, None))


def read_number(text: str) -> int:
    """Return a natural number in decimal digits, or raise `ValueError`."""
    if not (text.isascii() and text.isdigit() and int(text[:11]) <= _HIGHEST_NUMBER):
        message = f"{text!r} is not a number from 0 to {_HIGHEST_NUMBER}"
        raise ValueError(message)
    return int(text)


def read_user(text: str) -> tuple[int, int | None]:
    """Return `UID[:GID]` as numbers, or raise `ValueError`.

    Nothing is guessed: a name or an empty part that became 0 would run the process as root
    (CVE-2026-30892).
    """
    parts = text.split(":")
    plain = all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts)
    ids = [int(part) for part in parts] if plain else []
    if not 1 <= len(ids) <= 2 or max(ids) > _HIGHEST_ID:
        message = f"{text!r} is not a numeric UID or UID:GID"
        raise ValueError(message)
    return ids[0], ids[1] if len(ids) == 2 else None


def parse_verb(program: Program, verb: Verb, words: Sequence[str], values: Values) -> Arguments:
    """Read what stands behind a verb; its options go into `values` too."""
    scan = _Scan(program, words, verb, values)
    operands = scan.read()
    if scan.shortcut:
        return Arguments("help", values, (verb.name,))
    _finish(scan)
    command: tuple[str, ...] = ()
    if verb.takes_command:
        count = len(verb.operands)
        operands, command = operands[:count], tuple(operands[count:])
        # `--` after the id only says that what follows is the command. Without operands the
        # `--` that ends the options has said so already.
        if count and command[:1] == ("--",):
            command = command[1:]
    _check_operands(program, verb, operands)
    return Arguments(verb.name, values, tuple(operands), command)


class _Scan:
    """One pass over words with one set of options; fills `values` with raw values."""

    __slots__ = ("mistake", "options", "program", "shortcut", "values", "verb", "words")

    def __init__(
        self, program: Program, words: Sequence[str], verb: Verb | None, values: Values
    ) -> None:
        self.program = program
        self.words = list(reversed(words))
        self.verb = verb
        self.options = program.options if verb is None else (*verb.options, table.HELP)
        self.values = values
        # The first of --help, --version and a misspelt `-name`; they are acted on only after
        # the whole line has been read, so an unknown option beside --help is still an error.
        self.shortcut = ""
        self.mistake = ""

    def read(self) -> list[str]:
        """Return the words that are no options; stop at the first when a command may follow."""
        operands: list[str] = []
        interspersed = self.verb is not None and not self.verb.takes_command
        words = self.words
        while words:
            word = words.pop()
            if word == "--":
                break
            if word.startswith("--"):
                self._read_long(word)
            elif word.startswith("-") and word != "-":
                self._read_short(word)
            elif interspersed:
                operands.append(word)
            else:
                words.append(word)
                break
        return operands + words[::-1]

    def _read_long(self, word: str) -> None:
        name, equals, given = word.partition("=")
        option = self._named(name)
        if option is None:
            raise self._unknown(name)
        if option.kind != table.FLAG:
            self._store(option, given if equals else self._next(name))
        elif equals:
            raise self._error(f"{name} takes no value, and was given {given!r}")
        else:
            self._set_flag(option)

    def _read_short(self, word: str) -> None:
        long_name = "-" + word.partition("=")[0]
        if len(long_name) > 3 and self._named(long_name):
            if not self.shortcut:
                self.mistake = self.mistake or long_name
            return
        for position, letter in enumerate(word[1:], start=2):
            option = self._named("-" + letter)
            if option is None:
                raise self._unknown("-" + letter)
            if option.kind != table.FLAG:
                self._store(option, word[position:] or self._next("-" + letter))
                return
            self._set_flag(option)

    def _named(self, name: str) -> Option | None:
        for option in self.options:
            if name in option.names:
                return option
        return None

    def _next(self, name: str) -> str:
        if not self.words:
            raise self._error(f"{name} needs a value")
        return self.words.pop()

    def _set_flag(self, option: Option) -> None:
        if option.key in ("help", "version"):
            if not self.mistake:
                self.shortcut = self.shortcut or option.key
        else:
            self.values[option.key] = True

    def _store(self, option: Option, text: str) -> None:
        if option.kind == table.MANY:
            earlier = self.values.setdefault(option.key, [])
            assert isinstance(earlier, list)  # noqa: S101 -- for the type checker
            earlier.append(text)
        else:
            self.values[option.key] = text

    def _unknown(self, name: str) -> UsageError:
        if self.verb and any(name in option.names for option in self.program.options):
            return UsageError(
                f"{self.verb.name}: {name} goes before the verb",
                f"{self.program.name} {name} … {self.verb.name}",
            )
        names = [known for option in self.options for known in option.names if len(known) > 2]
        return self._error(f"there is no option {name!r}{_did_you_mean(name, names)}")

    def _error(self, message: str) -> UsageError:
        prefix = f"{self.verb.name}: " if self.verb else ""
        return UsageError(prefix + message, _hint(self.program, self.verb))


def _finish(scan: _Scan) -> None:
    """Check and convert the values that were read, and fill in the defaults."""
    prefix = f"{scan.verb.name}: " if scan.verb else ""
    hint = _hint(scan.program, scan.verb)
    if scan.mistake:
        raise UsageError(f"{prefix}write {scan.mistake} with two dashes", hint)
    for option in scan.options:
        value = scan.values.get(option.key)
        if value is None:
            if option.default is not None:
                scan.values[option.key] = option.default
        elif isinstance(value, str):
            try:
                scan.values[option.key] = _checked(option, value)
            except ValueError as error:
                raise UsageError(f"{prefix}{option.names[0]}: {error}", hint) from None


def _checked(option: Option, text: str) -> str | int:
    if option.kind == table.NUMBER:
        return read_number(text)
    if option.kind == table.USER:
        read_user(text)
    elif option.kind == table.CHOICE and text not in option.choices:
        message = f"{text!r} is not one of {', '.join(option.choices)}"
        raise ValueError(message)
    return text


def _check_operands(program: Program, verb: Verb, operands: Sequence[str]) -> None:
    hint = _hint(program, verb)
    for position, operand in enumerate(verb.operands):
        if position >= len(operands):
            if operand.required:
                raise UsageError(f"{verb.name}: {operand.name} is missing", hint)
        elif operand.choices and operands[position] not in operand.choices:
            choices = ", ".join(operand.choices)
            message = f"{verb.name}: {operands[position]!r} is not one of {choices}"
            raise UsageError(message, hint)
    repeats = bool(verb.operands) and verb.operands[-1].repeat
    if len(operands) > len(verb.operands) and not repeats:
        extra = operands[len(verb.operands)]
        raise UsageError(f"{verb.name}: {extra!r} is one operand too many", hint)


def _hint(program: Program, verb: Verb | None) -> str:
    return f"{program.name} help {verb.name}" if verb else f"{program.name} --help"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    # Imported only on the way to an error message: difflib loads `re` and `collections`.
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
