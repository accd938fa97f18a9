"""gc: what no world owns any more, judged and removed under the locks of its owners.

A runtime that is killed leaves a world half made, temporary files and perhaps a cgroup. What is
removed here is certainly ours and certainly nobody's: a directory whose lock is free and whose
state says that it never came to be; layers and cgroups that name a world of this state root which
is not there. A world that is whole stays, running or stopped, and so do changes that somebody may
want: layers of a world whose state was lost are only listed unless they are asked for.

No mount is looked for: every mount is made in a namespace that ends with its processes.
"""

from __future__ import annotations

import os
import stat
from functools import partial
from shlex import quote

from substrate.cgroups.marked import find_marked, holds_process
from substrate.cgroups.owned import open_world, remove_world
from substrate.cgroups.spans import forgotten
from substrate.errors import (
    SubstrateError,
    WorldExistsError,
    WorldNotFoundError,
    WorldStateError,
)
from substrate.filesystem.baseline import BASELINE_FILE
from substrate.filesystem.inherited import INHERITED_FILE
from substrate.filesystem.known import COPIES_FILE, KNOWN_FILE
from substrate.filesystem.layers import BEGAN_FILE, COPY
from substrate.filesystem.removal import remove_layers
from substrate.filesystem.since import SINCE_FILE
from substrate.record import record, replace
from substrate.seccomp.cache import stale_entries
from substrate.world import state as states
from substrate.world.accepted import STORE, is_interrupted
from substrate.world.context import prepare_directory
from substrate.world.delete import remove
from substrate.world.moved import MOVED_FILE
from substrate.world.points import DROPPED_FILE, FLOOR_FILE
from substrate.world.reserve import RESERVE_FILE
from substrate.world.stack import BASE, COVER, ONE_OPTION_FILE, LayerStack
from substrate.world.store import (
    CONFIG_FILE,
    FORKING_FILE,
    GATE_FILE,
    OWNER_FILE,
    STATE_FILE,
    STEPS_FILE,
    World,
    ids_in,
    is_temporary,
    list_ids,
)
from substrate.world.unattended import record_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from substrate.world.context import Context
    from substrate.world.state import State

REMOVED, FOUND, KEPT, FAILED = "removed", "found", "kept", "failed"
_OWN_FILES = frozenset((CONFIG_FILE, FORKING_FILE, GATE_FILE, STATE_FILE, STEPS_FILE))
# Beside the layers, and nothing that a person could miss.
_OWN_DATA = frozenset(
    (
        OWNER_FILE,
        BASELINE_FILE,
        KNOWN_FILE,
        COPIES_FILE,
        SINCE_FILE,
        BEGAN_FILE,
        INHERITED_FILE,
        DROPPED_FILE,
        ONE_OPTION_FILE,
        MOVED_FILE,
        FLOOR_FILE,
        RESERVE_FILE,
    )
)


@record
class Leftover:
    """One thing without an owner. `command` removes it by hand.

    `kind` is world, layers, cgroup, accept or file. `outcome` is removed, found (it would be
    removed), kept (somebody has to decide) or failed, and then `reason` ends in why.
    """

    kind: str
    path: str
    reason: str
    command: str
    outcome: str = FOUND

    def to_json(self) -> dict[str, Any]:
        """Return the fields as `gc --json` prints them."""
        return {
            "kind": self.kind, "path": self.path, "reason": self.reason,
            "command": self.command, "outcome": self.outcome,
        }  # fmt: skip


@record
class Sweep:
    """How `collect` goes about it: `dry` changes nothing, `layers` takes lost layers too."""

    dry: bool
    layers: bool
    warn: Callable[[str], None]

    def take(self, found: Leftover, act: Callable[[], object]) -> Leftover:
        """Remove something, unless this is a dry run."""
        if self.dry or found.outcome == KEPT:
            return found
        try:
            act()
        except (SubstrateError, OSError) as error:
            why = error.message if isinstance(error, SubstrateError) else str(error.strerror)
            return replace(found, outcome=FAILED, reason=f"{found.reason}; not removed: {why}")
        return replace(found, outcome=REMOVED)


def collect(context: Context, sweep: Sweep) -> Iterator[Leftover]:
    """Yield everything that is left over in the directories of a context, removed as it comes.

    Raises `RefusedError` when one of the directories could be changed by others.
    """
    for directory in (context.root, context.data, context.cache):
        if os.path.lexists(directory):
            prepare_directory(directory)
    for world_id in list_ids(context):
        yield from _in_world(context, world_id, sweep)
    for world_id in ids_in(context.data):
        yield from _lost_layers(context, world_id, sweep)
    yield from _lost_cgroups(context, sweep)
    for path in stale_entries(os.path.join(context.cache, "seccomp")):
        why = "a filter that was being written when its runtime died"
        found = Leftover("file", path, why, f"rm {quote(path)}")
        yield sweep.take(found, partial(os.unlink, path))


def _in_world(context: Context, world_id: str, sweep: Sweep) -> Iterator[Leftover]:
    try:
        with World.open(context, world_id) as world:
            # Nobody waits for gc, and gc for nobody: who holds a lock is at work.
            world.lock(0)
            if os.fstat(world.fileno()).st_uid == os.geteuid():
                yield from _judged(world, sweep)
    except (WorldNotFoundError, WorldStateError):
        return


def _judged(world: World, sweep: Sweep) -> Iterator[Leftover]:
    names = os.listdir(world.fileno())
    command = _command(world, "delete --force")
    if STATE_FILE not in names:
        if all(name in _OWN_FILES or is_temporary(name) for name in names):
            why = "its runtime was killed before the world had a state"
            yield sweep.take(Leftover("world", world.path, why, command), world.remove)
        return
    try:
        state = world.read()
    except SubstrateError as error:
        yield Leftover("world", world.path, error.message, command, KEPT)
        return
    if (reason := _never_came_to_be(state, names)) is not None:
        found = Leftover("world", world.path, reason, command)
        own = FORKING_FILE not in names
        if state.status == states.CREATED and own and _holds_changes(world.data):
            # Killed between the payload's first instruction and the word that it runs.
            found = replace(found, reason=f"{reason}, but it has changes", outcome=KEPT)
        yield sweep.take(found, partial(remove, world, state, sweep.warn))
        return
    for name in names:
        if is_temporary(name) or (name == GATE_FILE and state.status == states.RUNNING):
            path = os.path.join(world.path, name)
            found = Leftover("file", path, "its writer was killed", f"rm {quote(path)}")
            yield sweep.take(found, partial(world.remove_file, name))
    yield from _forgotten_spans(state, world.path, sweep)
    if state.layer is not None and is_interrupted(state.data):
        why = "an accept, undo or discard that was killed; it is taken back, or completed"
        found = Leftover("accept", f"{state.data}/{STORE}", why, _command(world, "diff"))
        yield sweep.take(found, partial(_complete, world, sweep.warn))
    elif state.layer is not None and not sweep.dry and os.path.isdir(state.data):
        # No leftover: what a span that nobody waited for has changed.
        with LayerStack(state.layer, state.data) as stack:
            record_all(state, world.path, stack)


def _complete(world: World, warn: Callable[[str], None]) -> None:
    from substrate.world.changing import Changing

    with Changing(world.context, world.world_id, warn, held=world):
        return


def _forgotten_spans(state: State, owner: str, sweep: Sweep) -> Iterator[Leftover]:
    """Yield the cgroups of commands that have ended without their `exec`."""
    world = open_world(state.cgroup, owner) if state.cgroup else None
    if world is None:
        return
    with world:
        for directory in forgotten(world, remove=not sweep.dry):
            why, outcome = "a command that has ended", FOUND if sweep.dry else REMOVED
            yield Leftover("cgroup", directory, why, f"rmdir {quote(directory)}", outcome)


def _never_came_to_be(state: State, names: list[str]) -> str | None:
    """Say why a world whose lock is free is none, or return None."""
    if state.status == states.CREATING:
        return "its runtime was killed while it made the world"
    # Only `run` makes worlds without a gate, and it holds the lock until they run.
    if state.status == states.CREATED and GATE_FILE not in names and not state.is_alive:
        return "its runtime was killed before the program of the world ran"
    return None


def _lost_layers(context: Context, world_id: str, sweep: Sweep) -> Iterator[Leftover]:
    path = os.path.join(context.data, world_id)
    state = os.path.join(context.root, world_id)
    if os.path.lexists(state) or not _is_our_directory(path):
        return
    owner = _owner_of_data(path)
    if owner is not None and owner != state:
        return  # of another state root, whose worlds we do not know
    command = f"rm -r {quote(path)}"
    if owner is None:
        why = "layers that do not say whose they are"
        yield Leftover("layers", path, why, command, KEPT)
        return
    why, outcome = "layers of a world that is gone", FOUND
    if not sweep.layers and _holds_changes(path):
        why, outcome = f"{why}, with its changes (gc --layers takes them too)", KEPT
    found = Leftover("layers", path, why, command, outcome)
    yield sweep.take(found, partial(_under_claim, context, world_id, partial(remove_layers, path)))


def _lost_cgroups(context: Context, sweep: Sweep) -> Iterator[Leftover]:
    for directory, owner in find_marked(context.root + "/"):
        world_id = owner[len(context.root) + 1 :]
        if "/" in world_id:
            continue
        command = f"echo 1 > {quote(directory + '/cgroup.kill')}; rmdir {quote(directory)}"
        found = Leftover("cgroup", directory, "the world it was made for is gone", command)
        act = partial(remove_world, directory, owner)
        try:
            with World.open(context, world_id) as world:
                world.lock(0)
                if not _is_former(world, directory):
                    continue
                yield sweep.take(found, act)
        except WorldStateError:
            continue
        except WorldNotFoundError:
            yield sweep.take(found, partial(_under_claim, context, world_id, act))


def _is_former(world: World, directory: str) -> bool:
    """Whether a cgroup belonged to an earlier world of that id, and not to this one."""
    try:
        state = world.read()
    except WorldNotFoundError:
        return True
    except SubstrateError:
        return False
    if holds_process(directory, state.pid if state.is_alive else 0):
        return False
    if not state.cgroup:
        return True
    try:
        # By inode: the hierarchy may be mounted elsewhere for us.
        return os.stat(state.cgroup).st_ino != os.stat(directory).st_ino
    except OSError:
        return False


def _under_claim(context: Context, world_id: str, act: Callable[[], object]) -> None:
    """Do something while nobody can make a world of that id; raises `WorldExistsError`."""
    try:
        world = World.claim(context, world_id)
    except WorldExistsError:
        message = "a world of that id was made meanwhile"
        raise WorldStateError(message) from None
    with world:
        try:
            act()
        finally:
            world.remove()


def _is_our_directory(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _owner_of_data(path: str) -> str | None:
    try:
        fd = os.open(os.path.join(path, OWNER_FILE), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _holds_changes(path: str) -> bool:
    """Whether layers have anything in them that a person may want."""
    for folder, folders, files in os.walk(path):
        if os.path.basename(folder) in {"work", COVER}:
            folders.clear()  # the overlay's own, and ours
        elif COPY in folders and folder == os.path.join(path, BASE):
            if _copy_holds_changes(folder):
                return True
            folders.clear()
        elif os.path.basename(folder) == "upper":
            if folders or files:
                return True
        elif not _OWN_DATA.issuperset(files):
            return True
    return False


def _copy_holds_changes(directory: str) -> bool:
    from substrate.filesystem.copies.settling import holds_changes

    try:
        return holds_changes(directory)
    except (SubstrateError, OSError):
        return True  # nobody can tell


def _command(world: World, verb: str) -> str:
    context = world.context
    root = f"--root {quote(context.root)} " if context.data == f"{context.root}-data" else ""
    return f"substrate-runtime {root}{verb} {world.world_id}"
