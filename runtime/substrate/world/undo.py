"""undo: what the last accept displaced comes back."""

from __future__ import annotations

from substrate.errors import SubstrateError, UsageError
from substrate.filesystem import undo as undoing
from substrate.filesystem.journal import read_record
from substrate.record import record
from substrate.world.changing import Changing
from substrate.world.moved import tell_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.transaction import Progress
    from substrate.world.context import Context


@record
class Undone:
    """Which accept was taken back; `paths` are those that came back or went."""

    world_id: str
    number: int
    paths: tuple[str, ...]
    conflicts: tuple[tuple[str, str], ...]
    left: int


def undo(
    context: Context,
    world_id: str,
    warn: Callable[[str], None],
    progress: Progress,
    *,
    number: int = 0,
    theirs: bool = False,
    dry_run: bool = False,
) -> Undone:
    """Take the last accept of a world back; `number` names the one that must be the last.

    What it made of the project is a change of the world again. Raises `ConflictError` when
    something has been changed since, `UsageError` when another accept came after, `RefusedError`
    while processes use the layers, `SubstrateError` when there is nothing to undo.
    """
    with Changing(context, world_id, warn) as changing:
        numbers = changing.store.numbers()
        if not numbers:
            message = f"there is no accept of {world_id} to undo"
            raise SubstrateError(message, f"substrate-runtime diff {world_id}")
        last = numbers[-1]
        if number not in {0, last}:
            known = number in numbers
            message = f"accept {number} is {'not the last one' if known else 'not there'}"
            raise UsageError(message, f"the last one is {last}; undo it first")
        place = changing.store.place(last)
        done = read_record(place)
        if done is None:
            message = f"accept {last} left no record"
            raise SubstrateError(message, f"ls {place}")
        changing.check_undo(last)
        conflicts: list[tuple[str, str]] = []
        if dry_run:
            conflicts = undoing.conflicts_of_undo(done, changing.project, changing.known)
        else:
            # What was moved where something else was is not on record as moved.
            tell_others(context, changing.state)
            done = undoing.undo(
                changing.store, last, changing.project, changing.known, world_id, warn, progress,
                changing.settle, theirs=theirs,
            )  # fmt: skip
        paths = sorted({operation.path or "." for operation in done.operations})
        return Undone(world_id, last, tuple(paths), tuple(conflicts), len(numbers) - 1)
