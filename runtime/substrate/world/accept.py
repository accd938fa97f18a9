"""accept: what a world changed becomes part of the real project."""

from __future__ import annotations

from substrate.filesystem.accept import accept as apply
from substrate.filesystem.accept import check_choice, decide
from substrate.filesystem.entries import RENAME
from substrate.record import record, replace
from substrate.world.changing import Changing
from substrate.world.diff import marked
from substrate.world.moved import tell_others
from substrate.world.parts import relative_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from substrate.filesystem.accept import Choice, Wish
    from substrate.filesystem.entries import FsDiff
    from substrate.filesystem.transaction import Progress
    from substrate.world.context import Context


@record
class Accepted:
    """What an accept came to; `number` is what undo takes, 0 when nothing was applied."""

    world_id: str
    number: int
    choice: Choice
    diff: FsDiff


def accept(
    context: Context,
    world_id: str,
    wish: Wish,
    warn: Callable[[str], None],
    progress: Progress,
    show: Callable[[Accepted], None],
) -> Accepted:
    """Apply the changes of a world that a person wishes, all of them or none.

    `show` is called with what will be done, before anything is refused or applied. Raises
    `ConflictError` when the host has changed the same, `RefusedError` for what is risky and was
    not allowed, for a project that is another directory, and for what the world still uses.
    """
    with Changing(context, world_id, warn) as changing:
        at = changing.layer.at
        wish = replace(
            wish,
            paths=tuple(relative_path(path, at) for path in wish.paths),
            risky=tuple(relative_path(path, at) for path in wish.risky),
        )
        with changing.changes() as changes:
            marked(changes.diff, context, changing.state)
            choice = decide(changes, changing.project, changing.known, wish)
            result = Accepted(world_id, 0, choice, choice.diff)
            show(result)
            check_choice(choice)
            if wish.dry_run:
                return result
            moves = any(entry.change == RENAME for entry in choice.entries)
            # Where both places are in use, what was moved is not told as a rename.
            if moves or any(changes.redirects()):
                tell_others(context, changing.state)
            number = apply(
                changes, changing.project, changing.store, changing.known, choice,
                changing.owners(), world_id, warn, progress, lives=changing.lives,
            )  # fmt: skip
        if number:
            changing.finish()
    return replace(result, number=number)
