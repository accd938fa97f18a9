"""What a call of a shell would read as commands: the text of -c, a file, standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from substrate.policy.syntax import UNKNOWN, Redirect, Word
from substrate.policy.wrappers import SHELL_LONG, SHELL_SHORT, SHELL_VALUES
from substrate.record import record

if TYPE_CHECKING:
    from collections.abc import Sequence


@record
class ShellCall:
    """`script` is the text it runs, None for a file's; `problem` why that is unclear."""

    script: Word | None = None
    problem: str = ""


def read_shell_call(words: Sequence[Word], redirects: Sequence[Redirect]) -> ShellCall:
    """Read the arguments of a shell."""
    has_text = reads_input = False
    rest = list(words)
    while rest and rest[0].text[:1] in {"-", "+", UNKNOWN}:
        word = rest.pop(0)
        text = word.text
        if word.many or UNKNOWN in text:
            return ShellCall(problem="only the shell will know its options")
        if text in {"-", "--"}:
            break
        if text.startswith("--"):
            if text[2:] not in SHELL_LONG:
                return ShellCall(problem=f"{text} is not judged")
            continue
        for letter in text[1:]:
            if letter == "c" and text[0] == "-":
                has_text = True
            elif letter in SHELL_VALUES:
                if not rest or not rest.pop(0).known:
                    return ShellCall(problem="only the shell will know its options")
            elif letter not in SHELL_SHORT:
                return ShellCall(problem=f"the option {letter} is not judged")
            reads_input = reads_input or letter == "s"
    if has_text:
        if not rest or rest[0].many:
            return ShellCall(problem="only the shell will know its text")
        return ShellCall(script=rest[0])
    if rest and not reads_input:
        return _file(rest[0])
    return _standard_input(redirects)


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
