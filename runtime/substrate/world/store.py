"""One directory per world: atomic state, a lock, and nothing that is found by searching.

A world's directory is claimed by mkdir, so an id is taken once. The lock is on the directory
itself and needs no file; whoever waited for it checks that the directory is still the one under
that name. state.json is replaced, never changed in place, and removed last.
"""

from __future__ import annotations

import errno
import fcntl
import os

from substrate import jsontext
from substrate.errors import (
    UsageError,
    WorldExistsError,
    WorldNotFoundError,
    WorldStateError,
)
from substrate.world.context import foreign_root, prepare_directory
from substrate.world.state import State, from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.world.context import Context

STATE_FILE = "state.json"
CONFIG_FILE = "config.json"
GATE_FILE = "gate"
STEPS_FILE = "steps.json"
# In the directory of a world's layers: the state directory whose layers they are.
OWNER_FILE = "owner"
# There while a fork is being made: what is in its layers is the other world's, too.
FORKING_FILE = "forking"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
_NEW = ".new"
# By content, as `stored_config` has it: most commands read a state that has not changed.
_MOST_READ = 16
_read: dict[bytes, State] = {}
# It is part of names that the kernel limits: log prefixes, interface names, cgroups.
_LONGEST_ID = 64
LOCK_TIMEOUT_S = 30.0


def check_id(world_id: str) -> None:
    """Raise `UsageError` unless it is an id as runc and crun allow them."""
    if not world_id or len(world_id) > _LONGEST_ID or world_id in (".", "..") or (
        not _ID_CHARACTERS.issuperset(world_id)
    ):  # fmt: skip
        shown = world_id if len(world_id) < 80 else world_id[:80] + "…"
        message = f"invalid id {shown!r}"
        raise UsageError(message, f"use up to {_LONGEST_ID} letters, digits and _ . + -")


class World:
    """The directory of one world, held open. Use as a context manager."""

    def __init__(self, context: Context, world_id: str) -> None:
        self.context = context
        self.world_id = world_id
        self.path = os.path.join(context.root, world_id)
        self.data = os.path.join(context.data, world_id)
        self._fd = -1

    @classmethod
    def claim(cls, context: Context, world_id: str) -> World:
        """Make the directory of a new world and lock it; raises `WorldExistsError`."""
        check_id(world_id)
        prepare_directory(context.root)
        while True:
            world = cls(context, world_id)
            try:
                os.mkdir(world.path, 0o700)
            except FileExistsError:
                message = f"the id {world_id} is already in use"
                hint = f"substrate-runtime delete --force {world_id}"
                raise WorldExistsError(message, hint) from None
            try:
                world._open()
                world.lock()
            except WorldNotFoundError:
                # A `delete` came in before our lock and removed the stateless directory.
                world.close()
                continue
            return world

    @classmethod
    def open(cls, context: Context, world_id: str) -> World:
        """Open the directory of a world; raises `WorldNotFoundError`."""
        check_id(world_id)
        world = cls(context, world_id)
        world._open()
        return world

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory, which gives the lock up."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """Return the directory's descriptor."""
        return self._fd

    def lock(self, timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """Take the lock. Raises `WorldStateError` after the time, `WorldNotFoundError` if gone."""
        import time

        deadline = time.monotonic() + timeout_s
        while not self._try_lock():
            if time.monotonic() > deadline:
                message = f"the world {self.world_id} is busy: another command is changing it"
                raise WorldStateError(message, f"fuser {self.path} tells which")
            time.sleep(0.005)
        self._check_same()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Give the lock up."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def read(self) -> State:
        """Return the stored state; raises `WorldNotFoundError` when none was written yet."""
        raw = self.read_file(STATE_FILE)
        if raw is None:
            raise self._not_found()
        state = _read.get(raw)
        if state is None:
            try:
                data = jsontext.loads(raw)
            except ValueError:
                data = None
            state = from_json(data, os.path.join(self.path, STATE_FILE))
            if len(_read) >= _MOST_READ:
                _read.clear()
            _read[raw] = state
        return state

    def write(self, state: State) -> None:
        """Replace the stored state at once."""
        self.write_file(STATE_FILE, jsontext.dumps(state.to_json(), 2))

    def read_file(self, name: str) -> bytes | None:
        """Return the content of a file of the world's directory, None when it is not there."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            return file.read()

    def write_file(self, name: str, content: str) -> None:
        """Replace a file of the world's directory at once, readable by its owner only."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        temporary = f".{name}{_NEW}"
        fd = os.open(temporary, flags, 0o600, dir_fd=self._fd)
        with open(fd, "wb") as file:
            file.write(content.encode())
        os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def make_data(self) -> None:
        """Make the directory of the world's layers, which says whose it is (`gc` asks)."""
        from substrate.world.reserve import keep_reserve

        prepare_directory(self.context.data)
        prepare_directory(self.data)
        keep_reserve(self.data)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(os.path.join(self.data, OWNER_FILE), flags, 0o600)
        with open(fd, "wb") as file:
            file.write(os.fsencode(self.path))

    def remove_file(self, name: str) -> None:
        """Remove a file of the world's directory if it is there."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return

    def remove(self) -> None:
        """Remove the directory with everything in it; the state goes last."""
        names = os.listdir(self._fd)
        for name in sorted(names, key=lambda name: name == STATE_FILE):
            self.remove_file(name)
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return

    def _open(self) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self.path, flags)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise self._not_found() from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise foreign_root(self.context.root, error) from None
            raise

    def _check_same(self) -> None:
        """Refuse a directory that was removed, and perhaps made anew, while we waited."""
        try:
            here = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            raise self._not_found() from None
        if (here.st_dev, here.st_ino) != _identity(self._fd):
            raise self._not_found()

    def _not_found(self) -> WorldNotFoundError:
        message = f"container {self.world_id} does not exist"
        return WorldNotFoundError(message, "substrate-runtime list")


def list_ids(context: Context) -> list[str]:
    """Return the ids of all worlds, sorted."""
    return ids_in(context.root)


def ids_in(directory: str) -> list[str]:
    """Return the names in a directory that can be ids, sorted."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise foreign_root(directory, error) from None
    return sorted(name for name in names if _ID_CHARACTERS.issuperset(name))


def is_temporary(name: str) -> bool:
    """Whether a file of a world's directory is one that was being written."""
    return name.startswith(".") and name.endswith(_NEW)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
