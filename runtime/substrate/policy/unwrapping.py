"""From a simple command to every command it would run: through sudo, env, xargs, sh -c."""

from __future__ import annotations

import fnmatch
import re
import shlex

from substrate.policy import wrappers
from substrate.policy.cursor import Budget, UnreadableError
from substrate.policy.grammar import read_script
from substrate.policy.optionwords import OptionReader
from substrate.policy.shells import read_shell_call
from substrate.policy.syntax import UNKNOWN, Command, Fault, Word, literal
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)=(.*)", re.DOTALL)
DEEPEST = 16
# Behind the text of an alias: whatever is typed there.
_ARGUMENTS = ' "$@"'


@record
class Call:
    """One program that would be started, with its arguments; `via` says through what."""

    words: tuple[Word, ...]
    via: tuple[str, ...] = ()
    text: str = ""


class Unwrapper:
    """Collects the calls of one judgement."""

    def __init__(self, definitions: Mapping[str, str], posix: bool = False) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        # A variable is set that says where programs and their parts are found.
        self.changes_lookup = False
        # What the session's own names stand for, as shell text.
        self._definitions = definitions
        self._posix = posix
        self._budget = Budget()

    def text(self, text: str, via: tuple[str, ...] = (), posix: bool | None = None) -> None:
        """Take in a shell text."""
        if len(via) > DEEPEST:
            self.faults.append(Fault("too-deep", "commands inside each other", text))
            return
        dialect = self._posix if posix is None else posix
        script = read_script(text, dialect, self._budget, len(via))
        self.faults += script.faults
        for command in script.commands:
            self.command(command, via)

    def argv(self, words: tuple[str, ...]) -> None:
        """Take in an exact argv."""
        self.command(Command(tuple(literal(word) for word in words), (), (), " ".join(words)), ())

    def command(self, command: Command, via: tuple[str, ...]) -> None:
        """Take in one simple command."""
        for name, value in command.assignments:
            self._assignment(name, value, via, command.text)
        if command.words:
            self._call(command.words, via, command)

    def fault(self, code: str, reason: str, text: str) -> None:
        """Note what cannot be judged."""
        self.faults.append(Fault(code, reason, text))

    def _assignment(self, name: str, value: Word, via: tuple[str, ...], text: str) -> None:
        kind = wrappers.CODE_VARIABLES.get(name)
        if name in wrappers.LOOKUP_VARIABLES:
            self.changes_lookup = True
        if kind is None and not name.startswith("BASH_FUNC_"):
            return
        if kind == "text" and value.known:
            if value.text:
                self.text(value.text + ' "$@"', (*via, name))
        else:
            self.fault("code-variable", f"what {name} holds may be run", text)

    def _call(self, words: tuple[Word, ...], via: tuple[str, ...], command: Command) -> None:
        if len(via) > DEEPEST:
            self.fault("too-deep", "commands inside each other", command.text)
            return
        try:
            self._budget.take_command()
        except UnreadableError as error:
            self.faults.append(error.fault)
            return
        self.calls.append(Call(words, via, command.text))
        name = program_name(words[0])
        if name is None:
            self.fault("unknown-command", "only the shell will know what this runs", command.text)
            return
        if name.startswith("-"):
            # Of the program before it, of the keyword `time` as other shells have it, of eval.
            self.fault("wrapper-option", f"{name} may be an option", command.text)
            if name == "-c" and words[1:]:
                self._script(words[1], (*via, name), command, posix=True)
            return
        definition = self._definitions.get(words[0].text)
        if definition is not None and f"={name}" not in via:
            self.text(_with_arguments(definition, words[1:]), (*via, f"={name}"))
        self._inside(name, words, (*via, name), command)

    def _inside(
        self, name: str, words: tuple[Word, ...], via: tuple[str, ...], command: Command
    ) -> None:
        arguments = words[1:]
        prefix = wrappers.PREFIXES.get(name)
        if prefix is not None:
            self._prefix(prefix, arguments, via, command)
        elif fnmatch.fnmatchcase(name, wrappers.LOADER):
            self._rest(arguments, via, command)
        elif name in wrappers.SHELLS or name in wrappers.OTHER_SHELLS:
            self._shell(name, arguments, via, command)
        elif name in wrappers.EVAL:
            self._joined(_without_options(arguments), via, command)
        elif name in wrappers.SOURCE:
            self._source(arguments, command)
        elif name == "find":
            self._find(arguments, via, command)
        elif name == "trap":
            action = _without_options(arguments)[:1]
            if [word.text for word in action] != ["-"]:
                self._joined(action, via, command)
        elif name == "alias":
            self._alias(arguments, via, command)
        elif name in {"export", "declare", "typeset", "local", "readonly"}:
            self._declared(arguments, via, command)
        elif name in wrappers.UNKNOWN_BUILTINS:
            self._unknown_builtin(name, arguments, command)

    def _prefix(
        self,
        prefix: wrappers.Prefix,
        arguments: tuple[Word, ...],
        via: tuple[str, ...],
        command: Command,
    ) -> None:
        options = OptionReader(prefix, arguments)
        for value in options.values_of(prefix.scripts):
            self._script(value, via, command, posix=True)
        unclear = not options.understood or "" in prefix.unknown
        if unclear or options.has(prefix.unknown):
            self.fault("wrapper-option", f"what {via[-1]} runs is unclear", command.text)
        if unclear:
            # A guess still finds what is denied; it cannot allow anything any more.
            guess = options.rest
            while guess and guess[0].text.startswith("-"):
                guess = guess[1:]
            self._rest(guess, via, command)
            return
        if options.has(prefix.quiet) or options.has(prefix.scripts):
            return
        rest = options.rest
        for value in options.values_of(prefix.splits):
            rest = (*self._split(value, command), *rest)
        if prefix.operands and not self._operands_known(rest[: prefix.operands], via, command):
            return
        rest = rest[prefix.operands :]
        if prefix.assigns:
            rest = self._assignments(rest, via, command)
        if prefix.joins and not options.has(("x", "exec")):
            self._joined(rest, via, command)
            return
        rest = _replaced(rest, options.values_of(prefix.replaces), options.has(prefix.replaces))
        if prefix.adds and not options.has(prefix.replaces):
            rest = (*rest, Word(UNKNOWN, True, "", True)) if rest else ()
        self._rest(rest, via, command)

    def _operands_known(
        self, operands: tuple[Word, ...], via: tuple[str, ...], command: Command
    ) -> bool:
        if any(word.many for word in operands):
            self.fault(
                "wrapper-option", f"where {via[-1]}'s command begins is unclear", command.text
            )
            return False
        return True

    def _rest(self, words: tuple[Word, ...], via: tuple[str, ...], command: Command) -> None:
        if words:
            self._call(words, via, command)

    def _assignments(
        self, words: tuple[Word, ...], via: tuple[str, ...], command: Command
    ) -> tuple[Word, ...]:
        # For env(1) whatever has an equals sign is one, also without a name in front of it.
        while words and "=" in words[0].text:
            name, _, value = words[0].text.partition("=")
            self._assignment(name, Word(value), via, command.text)
            words = words[1:]
        return words

    def _split(self, value: Word, command: Command) -> tuple[Word, ...]:
        """Split as `env -S` does, where that is what the shell's own splitting gives."""
        plain = re.fullmatch(r"[A-Za-z0-9_./=:,@%+ \t-]*", value.text)
        if not value.known or plain is None:
            self.fault("unknown-text", "what env -S makes of this is not judged", command.text)
            return ()
        return tuple(Word(word, False, word) for word in value.text.split())

    def _joined(self, words: tuple[Word, ...], via: tuple[str, ...], command: Command) -> None:
        if not words:
            return
        if not all(word.known for word in words):
            self.fault("unknown-text", f"only the shell will know {via[-1]}'s text", command.text)
            return
        self.text(" ".join(word.text for word in words), via)

    def _script(self, value: Word, via: tuple[str, ...], command: Command, posix: bool) -> None:
        if value.known:
            self.text(value.text, via, posix)
        else:
            self.fault("unknown-text", f"only the shell will know {via[-1]}'s text", command.text)

    def _shell(
        self, name: str, arguments: tuple[Word, ...], via: tuple[str, ...], command: Command
    ) -> None:
        call = read_shell_call(arguments, command.redirects)
        if call.problem:
            self.fault("shell-input", f"{name}: {call.problem}", command.text)
        elif call.script is not None and name in wrappers.OTHER_SHELLS:
            self.fault("shell-input", f"the language of {name} is not judged", command.text)
        elif call.script is not None:
            self._script(call.script, via, command, wrappers.SHELLS[name])

    def _source(self, arguments: tuple[Word, ...], command: Command) -> None:
        file = arguments[0] if arguments else Word(UNKNOWN)
        if not file.known or file.text.startswith(("/dev/", "/proc/", "-")):
            self.fault("shell-input", "which file is read as commands is unclear", command.text)

    def _find(self, arguments: tuple[Word, ...], via: tuple[str, ...], command: Command) -> None:
        unknown = [word for word in arguments if word.text.startswith(UNKNOWN)]
        ends = any(word.text in {";", "+"} for word in arguments)
        if any(word.many or ends for word in unknown):
            # What only the shell knows may be -exec as well.
            self.fault("unknown-arguments", "find may be told to run something", command.text)
        runs: list[Word] | None = None
        for word in arguments:
            if runs is None:
                runs = [] if word.text in wrappers.FIND_RUNS else None
            elif word.text == ";" or (word.text == "+" and runs and runs[-1].text == "{}"):
                self._rest(_with_files(runs), via, command)
                runs = None
            else:
                runs.append(word)
        if runs:
            self._rest(_with_files(runs), via, command)

    def _alias(self, arguments: tuple[Word, ...], via: tuple[str, ...], command: Command) -> None:
        for word in arguments:
            name, equals, value = word.text.partition("=")
            if not word.known or UNKNOWN in name:
                self.fault("unknown-text", "only the shell will know this alias", command.text)
            elif equals:
                # Whatever is typed behind the alias follows its text.
                self.text(f'{value} "$@"', via)

    def _declared(
        self, arguments: tuple[Word, ...], via: tuple[str, ...], command: Command
    ) -> None:
        for word in arguments:
            found = _ASSIGNMENT.match(word.text)
            if found is not None:
                self._assignment(found.group(1), Word(found.group(2)), via, command.text)
            elif UNKNOWN in word.text.partition("=")[0]:
                self.fault("code-variable", "which variable this sets is unclear", command.text)

    def _unknown_builtin(self, name: str, arguments: tuple[Word, ...], command: Command) -> None:
        letters = wrappers.UNKNOWN_ONLY_WITH.get(name)
        options = [word.text for word in arguments if word.text[:1] in {"-", UNKNOWN}]
        if letters is not None and not any(
            UNKNOWN in option or letter in option for option in options for letter in letters
        ):
            return
        self.fault("unknown-command", wrappers.UNKNOWN_BUILTINS[name], command.text)


def _with_arguments(definition: str, arguments: tuple[Word, ...]) -> str:
    """Return what an alias becomes with what is typed behind it, where that is known.

    Else, and of a function, what it is by itself.
    """
    alias = definition.removesuffix(_ARGUMENTS)
    if alias == definition or not all(word.known for word in arguments):
        return definition
    return " ".join((alias, *(shlex.quote(word.text) for word in arguments)))


def program_name(word: Word) -> str | None:
    """Return the last name of what is started, None when only the shell will know it."""
    name = word.text.rsplit("/", 1)[-1]
    if word.many or UNKNOWN in name:
        return None
    return name


def _without_options(words: tuple[Word, ...]) -> tuple[Word, ...]:
    while words and words[0].text.startswith("-") and words[0].text != "-":
        ended, words = words[0].text == "--", words[1:]
        if ended:
            break
    return words


def _replaced(words: tuple[Word, ...], values: tuple[Word, ...], asked: bool) -> tuple[Word, ...]:
    if not asked:
        return words
    marks = [value.text for value in values if value.text] or ["{}"]
    return tuple(_with_mark(word, marks) for word in words)


def _with_files(words: list[Word]) -> tuple[Word, ...]:
    return tuple(_with_mark(word, ["{}"]) for word in words)


def _with_mark(word: Word, marks: list[str]) -> Word:
    text = word.text
    for mark in marks:
        text = text.replace(mark, UNKNOWN)
    return word if text == word.text else Word(text, word.many, word.raw, word.splits)
