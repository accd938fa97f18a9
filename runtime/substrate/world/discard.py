"""discard: changes of a world are forgotten; the project was never touched by them."""

from __future__ import annotations

import os

from substrate.errors import WorldStateError
from substrate.filesystem.choosing import choose
from substrate.filesystem.copies.discard import places_of
from substrate.filesystem.discard import plan_discard
from substrate.filesystem.entries import make_diff
from substrate.filesystem.journal import Record, Store
from substrate.filesystem.known import Known
from substrate.filesystem.project import Project
from substrate.filesystem.removal import remove_layers
from substrate.filesystem.transaction import Transaction
from substrate.record import record
from substrate.world.accepted import DISCARD
from substrate.world.changing import Changing
from substrate.world.parts import relative_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.copies.discard import Place
    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.transaction import Progress
    from substrate.world.context import Context


@record
class Discarded:
    """What was forgotten, or would be."""

    world_id: str
    diff: FsDiff


def discard(
    context: Context,
    world_id: str,
    paths: tuple[str, ...],
    warn: Callable[[str], None],
    progress: Progress,
    *,
    dry_run: bool = False,
) -> Discarded:
    """Forget the changes of a world at some paths, or all of them.

    Raises `WorldStateError` while processes of the world use its layers, `RefusedError` for a part
    that cannot be taken out without changing what the rest means.
    """
    with Changing(context, world_id, warn, makes_room=True) as changing:
        if changing.lives and not dry_run:
            message = f"the world {world_id} still runs on these changes"
            raise WorldStateError(message, f"substrate-runtime kill {world_id} KILL")
        wanted = [relative_path(path, changing.layer.at) for path in paths]
        places: list[Place] = []
        with changing.changes() as changes:
            chosen = choose(changes.diff.entries, wanted, parents=False)
            found = Discarded(world_id, make_diff(list(chosen)))
            whole = len(chosen) == len(changes.diff.entries)
            if changing.layer.copied and not whole:
                places = places_of(changes, chosen)
        if whole and not dry_run:
            changing.forget_everything()
        elif places and not dry_run:
            changing.forget_places(places)
        elif not whole and not changing.layer.copied:
            _discard_part(changing, wanted, warn, progress, dry_run=dry_run)
    return found


def _discard_part(
    changing: Changing, wanted: list[str], warn: Callable[[str], None], progress: Progress,
    *, dry_run: bool,
) -> None:  # fmt: skip
    if dry_run and len(changing.stack.layers()) > 1:
        return  # what is planned on one layer cannot be planned before there is one
    layer = changing.join_layers()
    upper_path = os.path.join(changing.stack.path(layer), "upper")
    with changing.changes(layer) as changes, Project(upper_path) as upper:
        chosen = choose(changes.diff.entries, wanted, parents=False)
        operations = plan_discard(changes, chosen, upper, changing.project)
        if not dry_run:
            entry = Record(upper_path, *_identity(upper))
            entry.operations = operations
            _take_out(changing, upper, entry, warn, progress)


def _identity(upper: Project) -> tuple[int, int]:
    status = os.fstat(upper.fd)
    return status.st_dev, status.st_ino


def _take_out(
    changing: Changing, upper: Project, entry: Record, warn: Callable[[str], None],
    progress: Progress,
) -> None:  # fmt: skip
    store = Store(os.path.join(changing.state.data, DISCARD))
    store.prepare()
    done = store.place(1)
    remove_layers(done)
    operations, entry.operations = entry.operations, ()
    transaction = Transaction(store, upper, Known(store.path), warn, progress)
    transaction.make(entry, operations, lambda _fd: None, done, changing.world_id)
    remove_layers(store.path)
