"""What a person changes in the project while a world works on it is never lost by an accept."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from substrate.errors import ConflictError, SubstrateError
from substrate.filesystem.accept import Wish
from tests.support.accepting import ALL, Stand, differences
from tests.support.actions import SETTINGS, changing, sequences, setups
from tests.support.dying import dies_at
from tests.support.examples import every, examples
from tests.support.people import marked, written_by_person

if TYPE_CHECKING:
    from tests.support.overlay import OverlayHost

pytestmark = pytest.mark.requires("root", "overlayfs")

edits = st.lists(st.one_of(changing), min_size=1, max_size=6)


def prepare(
    stand: Stand, setup: list[list[Any]], actions: list[list[Any]], human: list[list[Any]]
) -> None:
    stand.change(setup, actions)
    stand.host.act(stand.lower, marked(human))


# The person removes what the world has moved: its content was theirs alone.
@example(
    setup=[["mkdir", "a"], ["write", "b", ""]],
    actions=[["rename", "b", "a/b"]],
    human=[["remove", "b"]],
)
@settings(SETTINGS, max_examples=examples(80))
@given(setup=setups, actions=sequences, human=edits)
def test_an_accept_keeps_every_edit_or_changes_nothing(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]], human: list[list[Any]]
) -> None:
    with Stand(host) as stand:
        prepare(stand, setup, actions, human)
        before, texts = stand.real(), written_by_person(stand.lower)
        try:
            stand.accept()
        except SubstrateError as error:
            said = error.message
            is_named = isinstance(error, ConflictError) or "is not there any more" in said
            assert is_named, said
            assert differences(before, stand.real()) == []
            return
        assert written_by_person(stand.lower) >= texts
        if stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real(), folder_times=False) == []


@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, human=edits, ours=st.booleans())
def test_whoever_wins_a_conflict_the_edit_is_in_the_project_or_comes_back_by_undo(
    host: OverlayHost,
    setup: list[list[Any]],
    actions: list[list[Any]],
    human: list[list[Any]],
    ours: bool,
) -> None:
    with Stand(host) as stand:
        prepare(stand, setup, actions, human)
        before, texts = stand.real(), written_by_person(stand.lower)
        wish = Wish(allow_risky=True, ours=ours, theirs=not ours)
        try:
            stand.accept(wish)
        except SubstrateError:
            # A part that cannot be left out, or content that the person has removed.
            assert differences(before, stand.real()) == []
            return
        if ours:
            assert written_by_person(stand.lower) >= texts
        assert written_by_person(stand.lower, stand.store.path) >= texts
        if stand.store.numbers():
            stand.undo()
        assert differences(before, stand.real(), folder_times=False) == []


# Names of two files change places, and one file has two times to get.
@example(
    setup=[
        ["mkfifo", "c"],
        ["link", "c", "b"],
        ["mkfifo", "a"],
        ["link", "a", "d"],
    ],
    actions=[["exchange", "a", "b"], ["touch", "a", 1]],
    human=[["write", "e", ""]],
)
# A directory that looks like the one whose mode was accepted, and is another.
@example(
    setup=[["mkdir", "a"], ["write", "b", ""]],
    actions=[["chmod", "a", 0o700], ["write", "b", "1"]],
    human=[["write", "c", ""], ["folder", "a"], ["chmod", "a", 0o700]],
)
@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, human=edits)
def test_an_undo_keeps_every_edit_made_after_the_accept_or_changes_nothing(
    host: OverlayHost, setup: list[list[Any]], actions: list[list[Any]], human: list[list[Any]]
) -> None:
    with Stand(host) as stand:
        stand.change(setup, actions)
        if not stand.accept(ALL):
            return
        stand.host.act(stand.lower, marked(human))
        edited, texts = stand.real(), written_by_person(stand.lower)
        try:
            stand.undo()
        except ConflictError:
            assert differences(edited, stand.real()) == []
            return
        assert written_by_person(stand.lower) >= texts


@pytest.mark.parametrize("edit", ["in place", "by another file", "of the mode"])
def test_an_edit_that_an_undo_was_killed_over_is_no_less_the_persons(
    host: OverlayHost, edit: str
) -> None:
    step, died, refused = 1, True, 0
    while died:
        with Stand(host) as stand:
            host.act(stand.lower, [["write", "a", "before"]])
            stand.mount()
            stand.act([["write", "a", "accepted"]])
            stand.unmount()
            stand.accept()
            host.act(stand.lower, _EDITS[edit])
            edited = stand.real()
            died = dies_at(step, partial(stand.undo, theirs=True))
            stand.recover()
            if stand.store.numbers():
                assert differences(edited, stand.real(), folder_times=False) == [], step
                with pytest.raises(ConflictError):
                    stand.undo()
                assert differences(edited, stand.real(), folder_times=False) == [], step
                refused += 1
                stand.undo(theirs=True)
            assert Path(stand.lower, "a").read_text("utf-8") == "before"
        step += every(2)
    assert refused > 5


_EDITS: dict[str, list[list[Any]]] = {
    "in place": [["write", "a", "a person"]],
    "by another file": [["write", "b", "a person"], ["rename", "b", "a"]],
    "of the mode": [["chmod", "a", 0o600]],
}
