"""Two worlds over one project, the second made from layers of the first, without a runtime."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from substrate.filesystem.accept import accept, check_choice, decide
from substrate.filesystem.baseline import BASELINE_FILE, read_baseline, write_baseline
from substrate.filesystem.changes import LayerChanges
from substrate.filesystem.diff import Changes, diff_layers
from substrate.filesystem.inherited import (
    Inherited,
    Stack,
    content_in_project,
    contents_below,
    write_inherited,
)
from substrate.filesystem.journal import Store
from substrate.filesystem.known import Known
from substrate.filesystem.layers import copy_root
from substrate.filesystem.mending import mend
from substrate.filesystem.owners import Owners
from substrate.filesystem.project import Project
from substrate.filesystem.replica import Replica
from substrate.filesystem.shown import shown_below_moved, write_shown
from substrate.filesystem.since import write_since
from substrate.filesystem.undo import finish
from tests.support.accepting import ALL, TICK_S, ignore_progress

if TYPE_CHECKING:
    from substrate.filesystem.entries import FsDiff
    from tests.support.overlay import OverlayHost, Snapshot


class StackedWorld:
    """A project and the layers of spans over it, all in `folder`."""

    def __init__(self, host: OverlayHost, folder: str, name: str) -> None:
        self.host = host
        self.folder = folder
        self.data = f"{folder}/{name}"
        self.lower = f"{folder}/lower"
        self.count = 0
        self.store = Store(f"{self.data}/accept")
        self.store.prepare()
        os.makedirs(f"{self.data}/mount/merged")
        os.symlink(self.lower, f"{self.data}/mount/lower")
        self._make(0)

    def begin(self) -> None:
        """Put the world's own layer over the project, which may be changed from here on."""
        time.sleep(TICK_S)
        write_baseline(f"{self.data}/layer", self.lower)
        copy_root(self.lower, self.upper(0))

    def name(self, number: int) -> str:
        """Return the directory of a layer, below the data."""
        return f"layers/{number}.s{number}" if number else "layer"

    def upper(self, number: int) -> str:
        """Return the upper directory of a layer."""
        return f"{self.data}/{self.name(number)}/upper"

    @property
    def uppers(self) -> list[str]:
        """All of them, the topmost first."""
        return [self.upper(number) for number in range(self.count, -1, -1)]

    def _make(self, number: int) -> None:
        for part in ("upper", "work"):
            os.makedirs(f"{self.data}/{self.name(number)}/{part}")
            os.symlink(
                f"{self.data}/{self.name(number)}/{part}", f"{self.data}/mount/{part}{number}"
            )

    def span(self, actions: list[list[Any]]) -> None:
        """Do the actions in a layer of their own."""
        self.count += 1
        self._make(self.count)
        copy_root(self.upper(self.count - 1), self.upper(self.count))
        self.host.stack(f"{self.data}/mount", self.count)
        try:
            self.host.act(f"{self.data}/mount/merged", actions)
        finally:
            self.host.unmount(f"{self.data}/mount")

    def seen(self) -> Snapshot:
        """Return what the world sees."""
        shown = [f"upper{number}" for number in range(self.count, 0, -1)]
        # An overlay that is only read has two lower directories at least.
        self.host.show(f"{self.data}/mount", [*shown, *(() if shown else ("upper0",)), "lower"])
        try:
            return self.host.snapshot(f"{self.data}/mount/merged")
        finally:
            self.host.unmount(f"{self.data}/mount")

    def diff(self) -> FsDiff:
        """Return what the layers changed in the project."""
        return diff_layers(self.uppers, [self.lower], self.host.prefix)

    def fork(self, name: str) -> StackedWorld:
        """Return a second world with the layers of this one."""
        other = StackedWorld(self.host, self.folder, name)
        without: dict[str, list[str]] = {}
        with Stack(self.uppers, [self.lower], self.host.prefix) as merged:
            for number in range(self.count + 1):
                if number:
                    other._make(number)
                content_of = partial(content_in_project, merged, self.count - number)
                with Replica(self.host.prefix, content_of) as replica:
                    since = replica.copy(self.upper(number), other.upper(number))
                    write_since(f"{other.data}/{other.name(number)}", since)
                    without[other.name(number)] = replica.without_content
        other.count = self.count
        shutil.copy2(f"{self.data}/layer/{BASELINE_FILE}", f"{other.data}/layer/{BASELINE_FILE}")
        content: dict[str, dict[int, tuple[int, int, int]]] = {}
        with Changes(other.uppers, [self.lower], self.host.prefix) as changes:
            for level, number in enumerate(range(other.count, -1, -1)):
                files = without[other.name(number)]
                content[other.name(number)] = contents_below(changes.merged, level, files)
        names = tuple(other.name(number) for number in range(other.count + 1))
        write_inherited(other.data, Inherited(names, content))
        with Stack(other.uppers, [self.lower], self.host.prefix) as merged:
            write_shown(other.data, shown_below_moved(merged))
        return other

    def mend(self) -> None:
        """Find again what another world's accept has moved."""
        mend(self.uppers, [self.lower], self.host.prefix, self.data)

    def accept(self) -> None:
        """Accept everything."""
        time.sleep(TICK_S)
        baseline = read_baseline(f"{self.data}/layer")
        assert baseline is not None
        with Project(self.lower) as project:
            project.lock()
            known = Known(self.store.path)
            changes = Changes(self.uppers, [self.lower], self.host.prefix)
            with LayerChanges(changes, baseline, self.data) as layers:
                choice = decide(layers, project, known, ALL)
                check_choice(choice)
                accept(
                    layers, project, self.store, known, choice, Owners(0, 0), "stand",
                    lambda _: None, ignore_progress, lives=False,
                )  # fmt: skip
        finish(self.store, None)
        time.sleep(TICK_S)
