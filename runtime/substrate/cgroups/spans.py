"""The cgroup of one command in a world: who survived it, what it used, its end."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os

from substrate.cgroups.owned import open_world
from substrate.cgroups.place import make_span
from substrate.errors import SubstrateError
from substrate.kernel import cgroup2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.cgroups.group import Cgroup

_EMPTYING_S = 0.2
# Until whoever was killed has gone; more than that only the kernel itself can take.
_DYING_S = 2.0
_PREFIX = "span-"
_COUNTERS = ("memory.events", "pids.events", "cpu.stat")
_serial = itertools.count(1)


class SpanCgroup:
    """A command's cgroup below its world's, both open; `close` it, which removes an empty one.

    Its maker holds a lock on it, so that nobody takes it for one that was forgotten.
    """

    def __init__(self, world: Cgroup, own: Cgroup) -> None:
        self.world = world
        self.own = own
        # As text: reading it into records is left for when something has changed.
        self.before = counters(world)
        self._is_killed = False

    @classmethod
    def make(cls, directory: str, owner: str, name: str = "") -> SpanCgroup | None:
        """Make one in a world's cgroup; None when the world has none. `owner` as in `open_world`.

        `name` must be free; without one it gets one of its own.
        """
        world = open_world(directory, owner)
        if world is None:
            return None
        try:
            return cls(world, _make(world, name or f"{os.getpid()}-{next(_serial)}"))
        except BaseException:
            world.close()
            raise

    def survivors(self) -> list[int]:
        """Return the processes that are still in it, once those that were killed have gone."""
        if self._is_killed:
            self.own.wait_empty(_DYING_S)
        return self.own.processes() if self.own.is_populated else []

    def kill(self) -> None:
        """Kill every process in it, daemons and those just being forked included."""
        self._is_killed = True
        self.own.kill()

    def close(self) -> None:
        """Close both, and remove the command's when nobody is left in it."""
        with self.world, self.own:
            if not self.survivors():
                _remove(self.own)


def counters(world: Cgroup) -> tuple[str | None, ...]:
    """Return what tells whether a limit was met, to be compared with a later answer."""
    return tuple(cgroup2.read(world.fd, name) for name in _COUNTERS)


def forgotten(world: Cgroup, *, remove: bool) -> list[str]:
    """Return the cgroups of commands that have ended without their maker; `remove` them too."""
    found: list[str] = []
    for name in cgroup2.children(world.fd):
        own = world.child(name) if name.startswith(_PREFIX) else None
        if own is None:
            continue
        with own:
            if own.is_populated or not _is_forgotten(own):
                continue
            if not remove or _remove(own):
                found.append(own.directory)
    return found


def _make(world: Cgroup, name: str) -> Cgroup:
    while True:
        try:
            own = make_span(world, name)
        except OSError as error:
            # cgroup.max.descendants is reached: commands with survivors leave theirs behind.
            if error.errno == errno.EAGAIN and forgotten(world, remove=True):
                continue
            raise _not_made(world, error) from error
        try:
            fcntl.flock(own.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # just being taken for a forgotten one
        else:
            if not own.is_gone:
                return own
        own.close()


def _not_made(world: Cgroup, error: OSError) -> SubstrateError:
    message = f"cannot make a cgroup for the command in {world.directory}: {error.strerror}"
    hint = "the world has ended" if error.errno in cgroup2.GONE else ""
    if error.errno == errno.EAGAIN:
        hint = "cgroup.max.descendants is reached: too many commands have processes left"
    return SubstrateError(message, hint)


def _is_forgotten(own: Cgroup) -> bool:
    try:
        # Kept until the descriptor is closed: its maker's next look at it fails.
        fcntl.flock(own.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(own: Cgroup) -> bool:
    try:
        own.remove(_EMPTYING_S)
    except SubstrateError:
        return False  # somebody came back to life in it; it is the world's then
    return True
