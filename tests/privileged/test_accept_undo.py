"""Whatever is accepted and undone in whatever order, the world sees what it saw.

A model is played beside the real thing: what the world sees changes by its own actions alone, and
the project is what the world saw at an accept of everything, or what it was before one that is
undone.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from substrate.errors import RefusedError, UsageError
from substrate.filesystem.accept import Wish
from tests.support.accepting import Stand, differences
from tests.support.actions import SETTINGS, changing, sequences, setups
from tests.support.dying import at_each_step, dies_at
from tests.support.examples import every, examples
from tests.support.mounts import tmpfs
from tests.support.overlay import OverlayHost

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from tests.support.overlay import Snapshot

pytestmark = pytest.mark.requires("root", "overlayfs")

spans = st.lists(st.one_of(changing), min_size=1, max_size=10)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("span"), spans),
        st.tuples(st.just("span"), spans),
        st.tuples(st.just("accept"), st.none()),
        st.tuples(st.just("part"), st.integers(1, 2**16)),
        st.tuples(st.just("undo"), st.none()),
        st.tuples(st.just("undo"), st.none()),
    ),
    min_size=3,
    max_size=10,
)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Path]:
    with tmpfs("size=64m") as place:
        yield place


@pytest.fixture(scope="module", params=[False, True], ids=["rootful", "rootless"])
def host(request: pytest.FixtureRequest, elsewhere: Path) -> Iterator[OverlayHost]:
    assert elsewhere.is_dir()  # mounted before: it is in the helper's view
    with OverlayHost(rootless=request.param) as started:
        yield started


@contextmanager
def stood(host: OverlayHost, elsewhere: Path, *, apart: bool) -> Generator[Stand]:
    """A stand; `apart`: its project is on another file system."""
    if not apart:
        with Stand(host) as stand:
            yield stand
        return
    project = elsewhere / "project"
    project.mkdir(mode=0o755)
    try:
        with Stand(host, str(project)) as stand:
            yield stand
    finally:
        shutil.rmtree(project)


class Model:
    """A world, and what it and its project must be.

    `seen` is what it saw where that cannot be looked at again: names that an index of the kernel
    holds together are shown by a mount with that index alone.
    """

    def __init__(self, stand: Stand, seen: Snapshot | None = None) -> None:
        self._stand = stand
        self._looks = seen is None
        self._seen = stand.look() if seen is None else seen
        self._project = stand.real()
        # What the project and the diff were before each accept that can be undone.
        self._before: list[tuple[Snapshot, list[str]]] = []
        # Whose times may be the host's: equal files that changed places, for instance.
        self._untimed: set[str] = set()

    def take(self, word: str, argument: Any) -> None:
        """Do one step, and look."""
        self._untimed |= self._stand.touched()
        steps: dict[str, Callable[[Any], None]] = {
            "span": self._span, "accept": self._accept, "part": self._part, "undo": self._undo,
        }  # fmt: skip
        steps[word](argument)
        self._untimed |= self._stand.touched()
        if self._looks:
            self._compare(self._seen, self._stand.look(), f"seen after {word}")
        assert self._stand.warnings == []

    def end(self) -> None:
        """Undo what can be undone; accept everything."""
        while self._before:
            self.take("undo", None)
        self.take("accept", None)
        self._compare(self._seen, self._stand.real(), "accepted at last")

    def _span(self, actions: list[list[Any]]) -> None:
        self._stand.span(actions)
        self._seen = self._stand.look()
        self._compare(self._project, self._stand.real(), "project after span")

    def _accept(self, _: None) -> None:
        before = self._stand.real(), self._stand.diff()
        if self._stand.accept():
            self._before.append(before)
        self._project = self._stand.real()
        self._compare(self._seen, self._project, "project after accept")
        assert self._stand.diff() == []

    def _part(self, bits: int) -> None:
        paths = self._stand.chosen(bits)
        if not paths:
            return
        before = self._stand.real(), self._stand.diff()
        try:
            if self._stand.accept(Wish(paths=paths, allow_risky=True)):
                self._before.append(before)
        except (RefusedError, UsageError):
            assert differences(self._project, self._stand.real()) == []
            assert self._stand.diff() == before[1]
        self._project = self._stand.real()

    def _undo(self, _: None) -> None:
        if not self._before:
            assert self._stand.store.numbers() == []
            return
        assert len(self._before) == len(self._stand.store.numbers())
        number = len(self._before)
        layers = self._stand.stack_names()
        assert self._stand.undo() == number
        self._project, diff = self._before.pop()
        self._compare(self._project, self._stand.real(), "project after undo")
        if not layers:
            assert self._stand.diff() == diff

    def _compare(self, one: Snapshot, two: Snapshot, when: str) -> None:
        assert differences(one, two, folder_times=False, untimed=self._untimed) == [], when


# A copy of a copy is no other file.
@example(
    setup=[["write", "a", "one"]],
    steps=[("span", [["append", "a", "1"]]), ("span", [["append", "a", "2"]]), ("accept", None)],
    apart=False,
)
# What comes back in a directory that was moved is known there.
@example(
    setup=[["mkdir", "a"], ["write", "a/x", "one"]],
    steps=[("span", [["folder", "a/x"], ["rename", "a", "b"]]), ("accept", None), ("undo", None)],
    apart=True,
)
# What one span has moved and another has changed is found where the first one says.
@example(
    setup=[["write", "d", "one"]],
    steps=[
        ("span", [["rename", "d", "a"], ["mkdir", "d"]]),
        ("span", [["chmod", "a", 0o600]]),
        ("part", 0b10),
        ("undo", None),
    ],
    apart=False,
)
# Names of before are others below what was made since.
@example(
    setup=[["mkdir", "a"], ["write", "a/x", "one"], ["write", "a/y", "two"]],
    steps=[
        ("span", [["rename", "a", "b"], ["chmod", "b/y", 0o600]]),
        ("accept", None),
        ("span", [["rename", "b", "c"], ["rename", "c/y", "d"], ["mkdir", "a"]]),
        ("undo", None),
        ("span", [["append", "d", "1"], ["remove", "c/x"]]),
    ],
    apart=False,
)
@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, steps=steps, apart=st.booleans())
def test_accept_and_undo_change_nothing_of_what_a_world_of_spans_sees(
    host: OverlayHost,
    elsewhere: Path,
    setup: list[list[Any]],
    steps: list[tuple[str, Any]],
    *,
    apart: bool,
) -> None:
    with stood(host, elsewhere, apart=apart) as stand:
        host.act(stand.lower, setup)
        stand.begin_idle()
        model = Model(stand)
        for word, argument in steps:
            model.take(word, argument)
        model.end()


decisions = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.none()),
        st.tuples(st.just("part"), st.integers(1, 2**16)),
        st.tuples(st.just("part"), st.integers(1, 2**16)),
        st.tuples(st.just("undo"), st.none()),
    ),
    min_size=2,
    max_size=8,
)


# A copy without a recorded original, which has an equal file in its place.
@example(
    setup=[["mkdir", "a"], ["write", "a/c", "one"]],
    actions=[["rename", "a/c", "a/b"], ["write", "a/c", "one"]],
    steps=[("part", 1)],
    apart=False,
)
@settings(SETTINGS, max_examples=examples(60))
@given(setup=setups, actions=sequences, steps=decisions, apart=st.booleans())
def test_accept_and_undo_change_nothing_of_what_a_world_that_ended_saw(
    host: OverlayHost,
    elsewhere: Path,
    setup: list[list[Any]],
    actions: list[list[Any]],
    steps: list[tuple[str, Any]],
    *,
    apart: bool,
) -> None:
    with stood(host, elsewhere, apart=apart) as stand:
        host.act(stand.lower, setup)
        indexed = not host.rootless and bool(host.links(stand.lower))
        stand.mount()
        stand.act(actions)
        seen = stand.seen()
        stand.unmount()
        model = Model(stand, seen if indexed else None)
        for word, argument in steps:
            model.take(word, argument)
        model.end()


SETUP: list[list[Any]] = [
    ["write", "a", "one"], ["write", "b", "two"], ["link", "b", "c"], ["mkdir", "d"],
    ["write", "d/x", "three"], ["write", "gone", "four"],
]  # fmt: skip
ACTIONS: list[list[Any]] = [
    ["append", "a", "!"], ["rename", "a", "e"], ["append", "b", "?"], ["rename", "d", "f"],
    ["append", "f/x", "!"], ["remove", "gone"], ["mkdir", "new"],
]  # fmt: skip


@pytest.mark.parametrize("verb", ["accept", "undo"])
def test_on_another_file_system_too_a_kill_leaves_one_state_or_the_other(
    host: OverlayHost, elsewhere: Path, verb: str
) -> None:
    def attempt(step: int) -> tuple[bool, str]:
        with stood(host, elsewhere, apart=True) as stand:
            before, after = stand.change(SETUP, ACTIONS)
            changed = stand.diff()
            if verb == "undo":
                stand.accept()
            died = dies_at(step, getattr(stand, verb))
            stand.recover()
            old = differences(before, stand.real(), folder_times=False) == []
            assert stand.diff() == (changed if old else [])
            if old:
                stand.accept()
            assert differences(after, stand.real(), folder_times=False) == [], step
            stand.undo()
            assert differences(before, stand.real(), folder_times=False) == [], step
            assert stand.diff() == changed, step
            assert os.listdir(elsewhere) == ["project"]
        return died, "old" if old else "new"

    met = at_each_step(attempt, every(3))
    assert met.keys() == {"old", "new"}
    assert met.total() > 16
