"""Reading a command from a person: prompt, history, completion, several lines, a status line.

What may be typed next, and whether a command is whole, is asked of a bash in the world: it knows
the files as the session sees them, and its grammar is the one that counts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from substrate.cli.front.table import PROGRAM
from substrate.cli.terminal import printable
from substrate.errors import SubstrateError
from substrate.filesystem.render import stat_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding.key_processor import KeyPress

    from substrate.api.inprocess import InProcessWorld
    from substrate.cli.front.interactive import Shell

_STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse fg:ansibrightblack",
        "world": "fg:ansicyan",
        "directory": "bold fg:ansiblue",
        "failed": "bold fg:ansired",
    }
)
# Where a word begins anew, for completion: bash's own, without the colon and the equals sign.
_BREAKS = frozenset(" \t\n;&|()<>'\"`")
_OPENING = frozenset("'\"`({<\\") | frozenset("|&")
_OPENING_WORDS = ("if", "for", "while", "until", "case", "select", "function", "do", "then", "[[")
# What bash -n says of a text that may go on.
_UNFINISHED = ("unexpected end of file", "unexpected EOF", "delimited by end-of-file")
_MOST_COMPLETIONS = 500
_COMPLETE = (
    'if [[ $2 == command ]]; then compgen -A command -- "$1"; fi; compgen -A file -- "$1" |'
    ' while IFS= read -r name; do [[ -d $name ]] && name+=/; printf "%s\\n" "$name"; done'
)


class Editor:
    """The line editor of one shell."""

    def __init__(self, shell: Shell, world: InProcessWorld) -> None:
        self._shell = shell
        self._world = world
        self._session: PromptSession[str] = PromptSession(
            message=self._prompt,
            style=_STYLE,
            history=_history(world.history_file()),
            completer=_WorldCompleter(shell, world),
            complete_while_typing=False,
            key_bindings=self._bindings(),
            multiline=True,
            prompt_continuation=_continuation,
            bottom_toolbar=self._status,
            enable_history_search=True,
        )

    def greeting(self) -> str:
        """Return what is said once, at the start."""
        session = self._world.session
        return (
            f"{printable(session.project)} in the world {session.world_id}: changes are kept"
            " apart. :diff shows them, :help lists more, Ctrl-D leaves.\n"
        )

    def read(self) -> str | None:
        """Return the next command, None when the person leaves."""
        while True:
            try:
                return self._session.prompt()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None

    def take_typed(self) -> str:
        """Return what was typed behind the command, and is not for a prompt yet."""
        keys = get_typeahead(self._session.input)
        return "".join(key.data for key in keys)

    def give_typed(self, text: str) -> None:
        """Let the next prompt begin with what was typed before it."""
        keys: list[KeyPress] = []
        parser = Vt100Parser(keys.append)
        parser.feed_and_flush(text)
        store_typeahead(self._session.input, keys)

    def _prompt(self) -> StyleAndTextTuples:
        state = self._shell.state
        mark = "class:failed" if state.status else ""
        return [("class:directory", printable(self._directory())), (mark, " $ ")]

    def _directory(self) -> str:
        """Return the shell's directory, relative to the project's parent where it is inside."""
        at = self._world.session.directory
        here = self._shell.state.directory
        if here == at or here.startswith(at.rstrip("/") + "/"):
            return os.path.basename(at) + here.removeprefix(at)
        return here

    def _status(self) -> StyleAndTextTuples:
        shell = self._shell
        policy = self._world.judge.policy
        parts = [f"policy {policy.word('mode')} {policy.policy_id.rpartition(':')[2][:8]}"]
        if shell.last is not None and shell.last.fs_diff is not None:
            parts.append("last: " + stat_line(shell.last.fs_diff))
        if shell.jobs.count():
            parts.append(f"{shell.jobs.count()} in the background")
        rest = "".join(f" · {part}" for part in parts)
        return [("class:world", self._world.session.world_id), ("", printable(rest))]

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("enter", filter=~completion_is_selected)
        def accept(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if self._is_whole(buffer.text):
                buffer.validate_and_handle()
            else:
                buffer.insert_text("\n")

        @bindings.add("enter", filter=completion_is_selected)
        def choose(event: KeyPressEvent) -> None:
            event.current_buffer.complete_state = None

        @bindings.add("escape", "enter")
        def insert_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("c-z")
        def stop_nothing(_event: KeyPressEvent) -> None:
            """Ctrl-Z is for a command in the foreground, and there is none."""

        del accept, choose, insert_line, stop_nothing
        return bindings

    def _is_whole(self, text: str) -> bool:
        if text.lstrip().startswith(":") or not _may_go_on(text):
            return True
        ending = len(text) - len(text.rstrip("\\"))
        if ending % 2:
            return False
        try:
            # LC_ALL: the words are looked for.
            asked = ("env", "LC_ALL=C", "bash", "-O", "extglob", "-n", "-c", text)
            ended = self._world.ask(asked, "/")
        except (SubstrateError, OSError):
            return True
        said = "" if ended.stderr is None else ended.stderr.text
        return not any(words in said for words in _UNFINISHED)


def _continuation(_width: int, _line: int, wraps: int) -> StyleAndTextTuples:
    """Return what stands before a further line; nothing where the terminal has only wrapped it."""
    return [("", "")] if wraps else [("", "> ")]


class _WorldCompleter(Completer):
    """Files and commands as the world has them, and the verbs behind a colon."""

    def __init__(self, shell: Shell, world: InProcessWorld) -> None:
        self._shell = shell
        self._world = world

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield what may stand for the word before the cursor."""
        text = document.text_before_cursor
        if text.startswith(":") and " " not in text:
            for verb in PROGRAM.verbs:
                if verb.name.startswith(text[1:]):
                    yield Completion(verb.name, -len(text) + 1, display_meta=verb.summary)
            return
        word, is_first = last_word(text)
        for name in self._ask(word, is_first=is_first):
            yield Completion(_quoted(name), -len(word), display=printable(name))

    def _ask(self, word: str, *, is_first: bool) -> Iterator[str]:
        kind = "command" if is_first and "/" not in word else "file"
        try:
            ended = self._world.ask(
                ("bash", "-c", _COMPLETE, "bash", word, kind), self._shell.state.directory
            )
        except (SubstrateError, OSError):
            return
        names = ended.stdout.text.split("\n") if ended.stdout is not None else []
        # A name that could drive a terminal is none that one could have meant.
        shown = sorted({name for name in names if name and name.isprintable()})
        yield from shown[:_MOST_COMPLETIONS]


def last_word(text: str) -> tuple[str, bool]:
    """Return the word before the cursor, and whether it stands where a command does."""
    start = len(text)
    while start and text[start - 1] not in _BREAKS:
        start -= 1
    before = text[:start].rstrip(" \t")
    return text[start:], not before or before[-1] in ";&|(\n`"


def _may_go_on(text: str) -> bool:
    """Whether bash need be asked: a line of plain words is whole."""
    words = text.split()
    return bool(_OPENING & set(text)) or any(word in _OPENING_WORDS for word in words)


def _quoted(name: str) -> str:
    special = " \t'\"\\$&;|<>()*?[]#!`{}~"
    return "".join("\\" + c if c in special else c for c in name)


class _PrivateHistory(FileHistory):
    """A history in which a command that begins with a space is not kept."""

    def append_string(self, string: str) -> None:
        """Keep a command."""
        if not string.startswith(" "):
            super().append_string(string)


def _history(path: str) -> History:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError:
        return InMemoryHistory()
    return _PrivateHistory(path)
