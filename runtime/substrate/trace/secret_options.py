"""Words of a command that are secret because of an option: by its name, or by the program.

`--token VALUE` is one for any program, `-pVALUE` for `mysql` and `-p VALUE` for `sshpass`, while
for most others `-p` is a port or a path.
"""

from __future__ import annotations

from substrate.trace import secrets
from substrate.trace.secrets import is_secret_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WHOLE, _BEHIND_COLON = "whole", "behind the colon"


def told_by_options(words: Sequence[str], names: tuple[str, ...] = ()) -> Iterator[tuple[int, int]]:
    """Yield (index, first character) of the words that are secret from there to their end.

    `names` are further names of options whose value is secret.
    """
    walk = _Walk(names)
    for index, word in enumerate(words):
        start = walk.meet(word)
        if start >= 0:
            yield index, start


class _Walk:
    """What the words so far say about the next one."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        # The last program named: `sudo env X=1 mysql` runs mysql.
        self._program = ""
        self._logs_in = False
        self._awaited = ""

    def meet(self, word: str) -> int:
        """Return where a word becomes secret, -1 when it does not."""
        awaited, self._awaited = self._awaited, ""
        if awaited and not _is_option(word, awaited):
            return 0 if awaited == _WHOLE else word.find(":") + 1 or -1
        if word[:1] != "-":
            self._meet_word(word)
            return -1
        if len(word) == 2:
            self._meet_letter(word[1])
            return -1
        return self._meet_option(word)

    def _meet_word(self, word: str) -> None:
        name = word.rpartition("/")[2]
        if name in secrets.PROGRAMS:
            self._program, self._logs_in = name, False
        elif word == "login":
            self._logs_in = True

    def _meet_letter(self, letter: str) -> None:
        if letter == secrets.SPACED.get(self._program) or (
            self._logs_in and letter == secrets.LOGIN.get(self._program)
        ):
            self._awaited = _WHOLE
        elif letter == secrets.USER.get(self._program):
            self._awaited = _BEHIND_COLON

    def _meet_option(self, word: str) -> int:
        letter = word[1:2]
        if letter and letter == secrets.GLUED.get(self._program):
            return 2
        if letter and letter == secrets.USER.get(self._program):
            return word.find(":") + 1 or -1
        if word in secrets.USER_OPTIONS and self._program in secrets.USER:
            self._awaited = _BEHIND_COLON
        elif "=" not in word and is_secret_name(word, self._names):
            self._awaited = _WHOLE
        return -1


def _is_option(word: str, awaited: str) -> bool:
    """Whether an option that may do without its value has none: the next option follows."""
    if awaited == _BEHIND_COLON:
        return word[:1] == "-"
    return word[:2] == "--" or (len(word) == 2 and word[0] == "-")
