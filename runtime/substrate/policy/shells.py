"""What a call of a shell would read as commands: the text of -c, a file, standard input."""

from __future__ import annotations

from substrate.policy.syntax import UNKNOWN, Redirect, Word
from substrate.policy.wrappers import SHELL_LONG, SHELL_SHORT, SHELL_VALUES
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


_UNKNOWN_OPTION = "only the shell will know its options"
_UNKNOWN_TEXT = "only the shell will know its text"


@record
class ShellCall:
    """`script` is the text it runs, None for a file's; `problem` why that is unclear."""

    script: Word | None = None
    problem: str = ""


def read_shell_call(words: Sequence[Word], redirects: Sequence[Redirect]) -> ShellCall:
    """Read the arguments of a shell."""
    rest = list(words)
    letters = ""
    while rest and rest[0].text[:1] in {"-", "+", UNKNOWN}:
        word = rest.pop(0)
        if word.text in {"-", "--"}:
            break
        if problem := _option_problem(word, rest):
            return ShellCall(problem=problem)
        if not word.text.startswith(("--", "+")):
            letters += word.text
    if "c" in letters:
        unclear = not rest or rest[0].many
        return ShellCall(problem=_UNKNOWN_TEXT) if unclear else ShellCall(script=rest[0])
    if rest and "s" not in letters:
        return _file(rest[0])
    return _standard_input(redirects)


def _option_problem(word: Word, rest: list[Word]) -> str:
    """Say what is unclear about an option, taking its value from `rest`."""
    if not word.known:
        return _UNKNOWN_OPTION
    if word.text.startswith("--"):
        return "" if word.text[2:] in SHELL_LONG else f"{word.text} is not judged"
    for letter in word.text[1:]:
        if letter in SHELL_VALUES:
            if not rest or not rest.pop(0).known:
                return _UNKNOWN_OPTION
        elif letter not in SHELL_SHORT:
            return f"the option {letter} is not judged"
    return ""


def _file(file: Word) -> ShellCall:
    if not file.known or file.text.startswith(("/dev/", "/proc/")):
        return ShellCall(problem="which file it reads as commands is unclear")
    return ShellCall()


def _standard_input(redirects: Sequence[Redirect]) -> ShellCall:
    inputs = [
        redirect
        for redirect in redirects
        if redirect.operator.startswith("<") and redirect.number.strip("0") == ""
    ]
    last = inputs[-1] if inputs else None
    if last is not None and last.heredoc is not None:
        return ShellCall(script=last.heredoc.body)
    if last is not None and last.operator == "<<<":
        return ShellCall(script=last.target)
    return ShellCall(problem="it reads its commands from standard input")
