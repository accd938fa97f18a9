"""Accept and undo on a mounted overlay, without a runtime: for random changes by the thousand."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self

from substrate.filesystem.accept import Wish, accept, check_choice, decide
from substrate.filesystem.archive import Archive
from substrate.filesystem.baseline import read_baseline, write_baseline
from substrate.filesystem.changes import LayerChanges
from substrate.filesystem.choosing import choose
from substrate.filesystem.diff import Changes
from substrate.filesystem.discard import plan_discard
from substrate.filesystem.entries import RENAME
from substrate.filesystem.index import index_path
from substrate.filesystem.journal import Record, Store, read_record
from substrate.filesystem.known import Known, read_copies
from substrate.filesystem.owners import Owners
from substrate.filesystem.project import Project
from substrate.filesystem.rest import set_redirects
from substrate.filesystem.transaction import Transaction, recover
from substrate.filesystem.undo import finish, undo
from substrate.world.stack import LayerStack, read_layers
from substrate.world.state import Layer

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from substrate.filesystem.entries import Entry
    from tests.support.overlay import OverlayHost, Snapshot

# Longer than a tick of the clock that files are stamped with.
TICK_S = 0.012
ALL = Wish(allow_risky=True)


def ignore_progress(_done: int, _of: int) -> None:
    """Tell nobody."""


class Stand:
    """A project, a layer over it and the store of what was accepted, in a folder of their own."""

    def __init__(self, host: OverlayHost, project: str = "") -> None:
        self.host = host
        self.folder = tempfile.mkdtemp(prefix="substrate-accept-", dir="/dev/shm")
        self.lower = project or f"{self.folder}/lower"
        self.layer = f"{self.folder}/layer"
        self.warnings: list[str] = []
        self.store = Store(f"{self.folder}/accept")
        self.store.prepare()
        for path in (self.lower, self.layer, f"{self.folder}/merged"):
            os.makedirs(path, exist_ok=True)
        self._mounted = False
        # Of a world of spans: how many there were, and whether its own layer stays mounted.
        self.spans, self.idles = 0, False
        layer = Layer(self.lower, "/work", self.layer, host.rootless)
        self.stack = LayerStack(layer, self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            self.unmount()
        shutil.rmtree(self.folder)

    def mount(self) -> None:
        """Put a fresh layer over the project."""
        time.sleep(TICK_S)
        write_baseline(self.layer, self.lower)
        for name in ("upper", "work"):
            os.mkdir(f"{self.layer}/{name}")
        shutil.copystat(self.lower, f"{self.layer}/upper")
        for name, target in (
            ("upper", "layer/upper"), ("work", "layer/work"), ("lower", self.lower),
        ):  # fmt: skip
            if not os.path.lexists(f"{self.folder}/{name}"):
                os.symlink(target, f"{self.folder}/{name}")
        self.host.mount(self.folder)
        self._mounted = True

    @property
    def shows_again(self) -> bool:
        """Whether the world would see what it saw: not names that an index holds together."""
        return self.host.rootless

    def shown(self) -> Snapshot:
        """Return what the world would see if it ran again."""
        self.mount_again()
        seen = self.seen()
        self.unmount()
        return seen

    def mount_again(self) -> None:
        """Show the project through the layer as it is now, as layers of spans are shown."""
        self.host.mount(self.folder, index=False)
        self._mounted = True

    def change(self, setup: list[list[Any]], actions: list[list[Any]]) -> tuple[Snapshot, Snapshot]:
        """Make the project, and change it as a world that has ended; the trees before and after."""
        self.host.act(self.lower, setup)
        before = self.real()
        self.mount()
        self.act(actions)
        after = self.seen()
        self.unmount()
        return before, after

    def begin_idle(self) -> None:
        """Put a fresh layer over the project that stays empty, for spans to be above it."""
        self.mount()
        self.unmount()
        self.idles = True

    def stack_names(self) -> list[str]:
        """Return the ids of the spans that have layers, the lowest first."""
        return [layer.span_id for layer in read_layers(self.folder)]

    def span(self, actions: list[list[Any]]) -> None:
        """Do what a span might, in a layer of its own over what the world has."""
        time.sleep(TICK_S)
        self.spans += 1
        with self.stack as stack:
            layers = stack.layers()
            new = stack.push(f"s{self.spans}", layers)
        below = [f"{one.name}/upper" for one in reversed(layers)]
        self.host.over(self.folder, new.name, [*below, "lower"])
        self._mounted = True
        self.act(actions)
        self.unmount()

    def look(self) -> Snapshot:
        """Return what the next span would see."""
        layers = [one.name for one in reversed(read_layers(self.folder))]
        uppers = [f"{name}/upper" for name in (*layers, "layer")]
        self.host.show(self.folder, [*uppers, "lower"])
        self._mounted = True
        seen = self.seen()
        self.unmount()
        return seen

    def unmount(self) -> None:
        """Take the mount away; the layer stays."""
        self.host.unmount(self.folder)
        self._mounted = False

    def act(self, actions: list[list[Any]]) -> None:
        """Do what a world might."""
        self.host.act(f"{self.folder}/merged", actions)

    def seen(self) -> Snapshot:
        """Return what the world sees."""
        return self.host.snapshot(f"{self.folder}/merged")

    def real(self) -> Snapshot:
        """Return what the project is."""
        return self.host.snapshot(self.lower)

    def recover(self) -> None:
        """Do what the next call does first."""
        undone = read_record(self.store.undone)
        if undone is not None:
            self._settle(undone.settle, self.store.place(undone.undoes))
        recover(self.store, self.warnings.append)
        finish(self.store, self._settle)

    def accept(self, wish: Wish = ALL, *, lives: bool = False) -> int:
        """Accept, as the verb does."""
        self.recover()
        with Project(self.lower) as project:
            project.lock()
            known = Known(self.store.path)
            with self._changes() as changes:
                choice = decide(changes, project, known, wish)
                check_choice(choice)
                number = accept(
                    changes, project, self.store, known, choice, Owners(0, 0), "stand",
                    self.warnings.append, ignore_progress, lives=lives,
                )  # fmt: skip
        if number:
            finish(self.store, None if lives else self._settle)
        return number

    def _changes(self) -> LayerChanges:
        baseline = read_baseline(self.layer)
        assert baseline is not None
        upper = f"{self.layer}/upper"
        layers = read_layers(self.folder)
        index = "" if layers else index_path(upper, f"{self.layer}/work")
        uppers = [*(f"{self.folder}/{one.name}/upper" for one in reversed(layers)), upper]
        restored = read_copies(self.store.path)
        changes = Changes(uppers, [self.lower], self.host.prefix, index, restored)
        return LayerChanges(changes, baseline)

    def _settle(self, how: dict[str, Any], place: str) -> None:
        archive = Archive(place, f"{self.folder}/layers", self.layer)
        if how.get("empty"):
            archive.put_away(self.lower, mounted=self.idles, userxattr=self.host.rootless)
        elif how.get("restore"):
            archive.bring_back(mounted=self.idles)
        else:
            set_redirects(self.layer, how.get("redirects", ()), self.host.prefix)

    def discard(self, paths: list[str]) -> list[Entry]:
        """Discard a part, as the verb does; the entries that it took."""
        store = Store(f"{self.folder}/discard")
        store.prepare()
        upper_path = f"{self.layer}/upper"
        with self._changes() as changes, Project(self.lower) as project:
            chosen = choose(changes.diff.entries, paths, parents=False)
            with Project(upper_path) as upper:
                operations = plan_discard(changes, chosen, upper, project)
                status = os.fstat(upper.fd)
                record = Record(upper_path, status.st_dev, status.st_ino)
                warn = self.warnings.append
                transaction = Transaction(store, upper, Known(store.path), warn, ignore_progress)
                transaction.make(record, operations, lambda _: None, store.place(1), "stand")
        shutil.rmtree(store.path)
        return chosen

    def renames(self) -> dict[str, str]:
        """Return old path -> new path of everything that was moved."""
        with self._changes() as changes:
            entries = changes.diff.entries
            return {e.origin: e.path for e in entries if e.change == RENAME}

    def diff(self) -> list[str]:
        """Return what is still in the layer, in words."""
        with self._changes() as changes:
            entries = changes.diff.entries
            return [f"{e.change} {e.origin} {e.path}" for e in entries if e.change != "touched"]

    def paths(self) -> list[str]:
        """Return the paths that changed, but for the root."""
        with self._changes() as changes:
            shown = {e.path for e in changes.diff.entries if e.change != "touched"}
        return sorted(shown - {"."})

    def chosen(self, bits: int) -> tuple[str, ...]:
        """Return some of the paths that changed: one for each bit that is set."""
        return tuple(path for place, path in enumerate(self.paths()) if bits >> place % 16 & 1)

    def touched(self) -> set[str]:
        """Return the paths of what the world only touched."""
        with self._changes() as changes:
            return set(changes.diff.touched)

    def undo(self, *, theirs: bool = False) -> int:
        """Undo the last accept; its number."""
        self.recover()
        number = self.store.numbers()[-1]
        with Project(self.lower) as project:
            project.lock()
            known = Known(self.store.path)
            undo(self.store, number, project, known, "stand", self.warnings.append,
                 ignore_progress, self._settle, theirs=theirs)  # fmt: skip
        return number


def differences(
    one: Snapshot,
    two: Snapshot,
    *,
    folder_times: bool = True,
    untimed: AbstractSet[str] = frozenset(),
) -> list[str]:
    """Return what differs between two walks, in words; times of `untimed` paths do not count."""
    found: list[str] = []
    for path in sorted(one.keys() | two.keys()):
        first, second = _plain(one.get(path)), _plain(two.get(path))
        if first is None or second is None:
            found.append(f"{path}: {'missing first' if first is None else 'missing second'}")
            continue
        is_folder = first[0] == second[0] == [0o040000]
        times = not (path in untimed or (is_folder and not folder_times))
        if first[:2] != second[:2] or (times and first[2] != second[2]):
            found.append(f"{path}: {first} != {second}")
    return found


def _plain(found: tuple[Any, Any, int] | None) -> tuple[Any, Any, int] | None:
    """Leave out what looks like an overlay's own: nothing of it may reach a project."""
    if found is None:
        return None
    content, (mode, uid, gid, attributes), times = found
    shown = {key: value for key, value in attributes.items() if ".overlay." not in key}
    return content, [mode, uid, gid, shown], times
