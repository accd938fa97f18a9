"""Accept: the chosen changes of a world become those of the project, all of them or none.

The parts are in `choosing.py` (which entries), `conflict.py` (three-way), `risky.py`,
`plan_accept.py` (operations), `transaction.py` (all or nothing) and `rest.py` (what stays behind).
"""

from __future__ import annotations

import os

from substrate.errors import ConflictError, RefusedError
from substrate.filesystem.choosing import choose, matcher
from substrate.filesystem.conflict import ROOT, ThreeWay, host_path
from substrate.filesystem.copies.changes import CopiedLayerChanges
from substrate.filesystem.copying import copy_item
from substrate.filesystem.entries import DELETE, MOD, RENAME, TOUCHED, WRITE, Entry, make_diff
from substrate.filesystem.identity import identity_of
from substrate.filesystem.items import Item
from substrate.filesystem.journal import Record
from substrate.filesystem.judged import check_judged
from substrate.filesystem.operations import IN, SWAP
from substrate.filesystem.pieces import link_piece
from substrate.filesystem.plan_accept import plan_accept
from substrate.filesystem.rest import check_rest, redirects_after
from substrate.filesystem.risky import risky_reasons
from substrate.filesystem.transaction import Transaction
from substrate.printable import quote
from substrate.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.filesystem.changes import LayerChanges
    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.journal import Store
    from substrate.filesystem.known import Known
    from substrate.filesystem.owners import Owners
    from substrate.filesystem.plan_accept import AcceptPlan, Stage
    from substrate.filesystem.project import Project
    from substrate.filesystem.transaction import Progress, Warn

_SHOWN = 20
_ENTRIES_BETWEEN_TELLS = 64


@record
class Wish:
    """What a person wants accepted, and how to decide what is not clear.

    `paths` and `risky` are relative to the project, or patterns; no paths means everything.
    `theirs`: the world's version wins over the host's; `ours`: the host's stays.
    """

    paths: tuple[str, ...] = ()
    theirs: bool = False
    ours: bool = False
    allow_risky: bool = False
    risky: tuple[str, ...] = ()
    dry_run: bool = False


@record
class Choice:
    """What a wish comes to: entries to apply, (path, reason) pairs, and whether nothing is left.

    `conflicts` are not decided yet; `kept` are those where the host's version stays; `overruled`
    those where the world's wins. `risky` is what needs an explicit yes and has none.
    """

    entries: tuple[Entry, ...]
    conflicts: tuple[tuple[str, str], ...]
    overruled: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]
    risky: tuple[tuple[str, tuple[str, ...]], ...]
    whole: bool

    @property
    def diff(self) -> FsDiff:
        """What will be, or has been, accepted."""
        return make_diff(list(self.entries))


def decide(changes: LayerChanges, project: Project, known: Known, wish: Wish) -> Choice:
    """Return what a wish comes to; nothing is changed."""
    three_way = ThreeWay(changes, project, known)
    chosen = choose(changes.diff.entries, wish.paths)
    whole = len(chosen) == len(changes.diff.entries)
    # The overlay keeps the root's mode from its creation: the host's own change to it shows too.
    chosen = [e for e in chosen if e.path != ROOT or three_way.world_changed_root(e)]
    found = three_way.conflicts(chosen)
    pairs = tuple(sorted(found.items()))
    if wish.ours and found:
        chosen = _without(chosen, set(found))
    risky = () if wish.allow_risky else _risky(chosen, project, wish)
    return Choice(
        entries=tuple(chosen),
        conflicts=() if wish.ours or wish.theirs else pairs,
        overruled=pairs if wish.theirs else (),
        kept=pairs if wish.ours else (),
        risky=risky,
        whole=whole,
    )


def check_choice(choice: Choice) -> None:
    """Raise `ConflictError` or `RefusedError` unless a choice can be applied as it is."""
    if choice.conflicts:
        lines = [f"{quote(path)}: {reason}" for path, reason in choice.conflicts]
        message = "\n".join([*_first(lines), "nothing was accepted: the host changed the same"])
        hint = "--theirs takes the world's version, --ours keeps the host's, or name other paths"
        raise ConflictError(message, hint, choice.conflicts)
    if choice.risky:
        lines = [f"{quote(path)}: {', '.join(reasons)}" for path, reasons in choice.risky]
        message = "\n".join([*_first(lines), "nothing was accepted: these can run code later"])
        hint = "look at them, then use --allow-risky, or --risky PATH for some of them"
        raise RefusedError(message, hint)


def accept(  # noqa: PLR0913, PLR0917 -- the two sides, what decides between them, who is told
    changes: LayerChanges,
    project: Project,
    store: Store,
    known: Known,
    choice: Choice,
    owners: Owners,
    label: str,
    warn: Warn,
    progress: Progress,
    *,
    lives: bool,
) -> int:
    """Apply a choice and return the number by which it can be undone; 0 if there was nothing.

    `lives`: processes of the world use the layer. Raises `RefusedError` when what is not chosen,
    or still in use, would lose its meaning; `ConflictError` as `Transaction.make` does.
    """
    chosen = list(choice.entries)
    if not chosen:
        return 0
    # What lives on a copy needs nothing of the project any more.
    in_use = lives and not isinstance(changes, CopiedLayerChanges)
    if in_use or not choice.whole:
        check_rest(changes, chosen, lives=in_use)
    three_way = ThreeWay(changes, project, known)
    plan = plan_accept(changes, chosen, project, owners, three_way)
    if not plan.operations:
        return 0
    entry = _record(project, plan)
    overruled = {path for path, _ in choice.overruled}
    entry.overruled = frozenset(
        path for one in chosen if one.path in overruled for path in (one.path, host_path(one))
    )
    found = (operation.there for operation in plan.operations)
    originals = {one.inode: known.stands_for(one) for one in found if one is not None}
    entry.stood_for = {now: was for now, was in originals.items() if now != was}
    number = max(store.numbers(), default=0) + 1
    if isinstance(changes, CopiedLayerChanges):
        entry.settle, entry.unsettle = changes.settlement(chosen, number, lives=lives)
    elif not lives and choice.whole:
        entry.settle, entry.unsettle = {"empty": True}, {"restore": True}
    elif not lives:
        redirects = redirects_after(changes, chosen)
        entry.settle = {"redirects": redirects}
        entry.unsettle = {"redirects": [(path, old, new) for path, new, old in redirects]}
    else:
        for one in chosen:
            if one.kind == "dir" and one.change in {WRITE, MOD}:
                changes.keep_apart(one.path)
    told = _Told(progress, len(plan.stages) + len(plan.operations))
    transaction = Transaction(store, project, known, warn, told.operations_done)

    def stage(pieces_fd: int) -> None:
        _stage(plan, project, pieces_fd, warn, told)
        check_judged(plan.operations, pieces_fd, chosen)

    transaction.make(entry, plan.operations, stage, store.place(number), label)
    return number


class _Told:
    """Staging and applying as one count."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._staged = 0

    def staged(self) -> None:
        """Count one piece."""
        self._staged += 1
        if self._staged % _ENTRIES_BETWEEN_TELLS == 0:
            self._progress(self._staged, self._total)

    def operations_done(self, done: int, _of: int) -> None:
        """Take over the count of operations."""
        self._progress(self._staged + done, self._total)


def _record(project: Project, plan: AcceptPlan) -> Record:
    from time import time_ns

    status = os.fstat(project.fd)
    entry = Record(os.path.realpath(project.path), status.st_dev, status.st_ino)
    entry.made_ns = time_ns()
    entry.times_after, entry.times_before = plan.times_after, plan.times_before
    entry.clean_folders = plan.clean_folders
    return entry


def _stage(plan: AcceptPlan, project: Project, pieces_fd: int, warn: Warn, told: _Told) -> None:
    """Make every piece, and tell the operations what they will find in theirs."""
    waiting = {
        operation.piece: operation
        for operation in plan.operations
        if operation.kind in {IN, SWAP} and not operation.moved
    }
    for stage in plan.stages:
        for what in _make_piece(stage, project, pieces_fd):
            warn(f"{quote(waiting[stage.piece].path)}: the {what} could not be kept")
        told.staged()
    # Last, because a further link changes the file's identity.
    for piece, operation in waiting.items():
        status = os.stat(str(piece), dir_fd=pieces_fd, follow_symlinks=False)
        operation.staged = identity_of(status)


def _make_piece(stage: Stage, project: Project, pieces_fd: int) -> list[str]:
    name = str(stage.piece)
    if stage.link_piece >= 0:
        os.link(str(stage.link_piece), name, src_dir_fd=pieces_fd, dst_dir_fd=pieces_fd,
                follow_symlinks=False)  # fmt: skip
        return []
    if stage.link_path and link_piece(project, stage.link_path, pieces_fd, name):
        return []
    if stage.item is None or stage.metadata is None:
        return []
    return copy_item(stage.item, pieces_fd, name, stage.metadata)


def _risky(
    chosen: list[Entry], project: Project, wish: Wish
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return what needs an explicit yes that it does not have, with the reasons."""
    allowed = [matcher(path, chosen) for path in wish.risky]
    found: dict[str, tuple[str, ...]] = {}
    for entry in chosen:
        if entry.change == TOUCHED or any(allows(entry.path) for allows in allowed):
            continue
        reasons = entry.risky
        if entry.change == RENAME and entry.kind == "dir":
            reasons += _risky_inside(entry, project)
        if reasons:
            found[entry.path] = tuple(dict.fromkeys((*found.get(entry.path, ()), *reasons)))
    return tuple(sorted(found.items()))


def _risky_inside(entry: Entry, project: Project) -> tuple[str, ...]:
    """Return the reasons of what moves along in a directory: at its new place it may mean more."""
    from substrate.filesystem.descriptors import Tree

    found: dict[str, None] = {}
    with Tree(project.path) as tree:
        start = tree.find(entry.origin)
        waiting = [] if start is None else [start[0].child(start[1])]
        while waiting:
            folder = waiting.pop()
            for name, status in folder.entries():
                item = Item(folder, name, status)
                path = entry.path + folder.path_of(name)[len(entry.origin) :]
                target = item.link_target() if item.kind == "symlink" else ""
                mode = status.st_mode & 0o7777
                found |= dict.fromkeys(risky_reasons(path, item.kind, mode, target))
                if item.kind == "dir":
                    waiting.append(folder.child(name))
    return tuple(found)


def _without(chosen: list[Entry], kept: set[str]) -> list[Entry]:
    """Return the entries without those that would touch what the host keeps."""
    stays = {host_path(entry) for entry in chosen if entry.path in kept}
    above = {path[:end] for path in stays for end in range(len(path)) if path[end] == "/"}

    def touches(entry: Entry) -> bool:
        path = entry.path
        while path:
            if path in kept:
                return True
            path = path.rpartition("/")[0]
        return entry.change in {DELETE, MOD} and host_path(entry) in above

    return [entry for entry in chosen if not touches(entry)]


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return lines if more <= 0 else [*lines[:_SHOWN], f"and {more} more"]
