"""The arguments of a call as options and operands, as far as one can tell without its program."""

from __future__ import annotations

from substrate.policy.programs import NO_VALUES, OPTION_VALUES, WHOLE_WORD_OPTIONS
from substrate.policy.syntax import UNKNOWN, Word
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@record
class Operand:
    """One operand; `optional`: it may be the value of the option before it instead."""

    word: Word
    optional: bool = False


@record
class Given:
    """What a call was given. `more_options`: a word only the shell knows may be more of them."""

    letters: frozenset[str]
    words: frozenset[str]
    operands: tuple[Operand, ...]
    more_options: bool = False

    def has(self, option: str) -> bool:
        """Whether the option is there, by itself, in a cluster, abbreviated or with a value."""
        if option in self.words:
            return True
        if not option.startswith("--"):
            return len(option) == 2 and option[1] in self.letters
        # GNU takes the beginning of a long option for the whole.
        return any(word.startswith("--") and option.startswith(word) for word in self.words)


def given_words(name: str, arguments: Sequence[Word]) -> Given:
    """Sort the arguments of the program `name`."""
    values = OPTION_VALUES.get(name, frozenset())
    letters: set[str] = set()
    words: set[str] = set()
    operands: list[Operand] = []
    more = ended = False
    behind_option = is_value = False
    for word in arguments:
        text = word.text
        if is_value:
            is_value = behind_option = False
            more = more or word.many
            continue
        if ended or not text.startswith(("-", UNKNOWN)) or text == "-":
            more = more or (word.splits and not ended)
            operands.append(Operand(word, behind_option and name not in NO_VALUES))
            behind_option = False
        elif text == "--":
            ended = True
        elif text.startswith(UNKNOWN):
            more = True
            operands.append(Operand(word, optional=True))
            behind_option = True
        else:
            option, _, _ = text.partition("=")
            more = more or UNKNOWN in option or word.many
            words.add(option.replace(UNKNOWN, ""))
            if not text.startswith("--") and name not in WHOLE_WORD_OPTIONS:
                letters.update(option[1:])
            behind_option = "=" not in text
            is_value = text in values
    return Given(frozenset(letters), frozenset(words), tuple(operands), more)
