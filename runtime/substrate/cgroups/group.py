"""One cgroup at work: who is in it, stopping and ending them all, and removing it.

Waiting is done on cgroup.events with a deadline; nothing here polls in a loop.
"""

from __future__ import annotations

import errno
import os
import time

from substrate.errors import SubstrateError, UnsupportedError
from substrate.kernel import cgroup2, signals

_SIGKILL = 9
FREEZE_TIMEOUT_S = 10.0
REMOVAL_TIMEOUT_S = 10.0
_FIRST_RETRY_S = 0.001
_LONGEST_RETRY_S = 0.05
_SHOWN_PIDS = 5


class Cgroup:
    """A cgroup held open by `fd` (which CLONE_INTO_CGROUP takes). Use as a context manager."""

    def __init__(self, fd: int, directory: str) -> None:
        self.fd = fd
        self.directory = directory

    @classmethod
    def open(cls, directory: str) -> Cgroup | None:
        """Open a cgroup by its path, None when it is gone; raises `UnsupportedError` off v2."""
        try:
            return cls(cgroup2.open_root(directory), directory)
        except FileNotFoundError:
            return None

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; the cgroup stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def child(self, name: str) -> Cgroup | None:
        """Open the cgroup called `name` below, None when there is none."""
        try:
            return Cgroup(cgroup2.open_child(self.fd, name), f"{self.directory}/{name}")
        except OSError as error:
            if error.errno in cgroup2.GONE:
                return None
            raise

    def make_child(self, name: str) -> Cgroup:
        """Make and open a cgroup below; raises `FileExistsError`."""
        os.mkdir(name, 0o755, dir_fd=self.fd)
        return Cgroup(cgroup2.open_child(self.fd, name), f"{self.directory}/{name}")

    @property
    def is_gone(self) -> bool:
        """Whether it was removed while it was open."""
        return cgroup2.read(self.fd, "cgroup.controllers") is None

    @property
    def is_populated(self) -> bool:
        """Whether any process is in it or below; False when it is gone."""
        return cgroup2.events(self.fd).get("populated") == 1

    @property
    def is_frozen(self) -> bool:
        """Whether everything in it stands still."""
        return cgroup2.events(self.fd).get("frozen") == 1

    def processes(self) -> list[int]:
        """Return the pids in it and below, as our pid namespace sees them."""
        found = cgroup2.processes(self.fd)
        for _, _, fd in cgroup2.below(self.fd):
            found += cgroup2.processes(fd)
        return found

    def add_process(self, pid: int) -> None:
        """Move a process into it, where CLONE_INTO_CGROUP could not be used.

        Takes about 10 ms: the kernel waits for every processor before it moves a process.
        """
        try:
            cgroup2.write(self.fd, "cgroup.procs", str(pid))
        except OSError as error:
            message = f"cannot put process {pid} into the cgroup {self.directory}: {error.strerror}"
            hint = ""
            if error.errno == errno.EBUSY:
                hint = "it gives controllers to its children, so it may hold no process itself"
            elif error.errno in (errno.EACCES, errno.EPERM):
                hint = "the cgroup above both must be delegated to this user"
            raise SubstrateError(message, hint) from error

    def freeze(self, timeout_s: float = FREEZE_TIMEOUT_S) -> None:
        """Stop all processes and wait until they stand; raises `SubstrateError`, then thawed."""
        self._write("cgroup.freeze", "1", "freeze")
        if not cgroup2.wait_event(self.fd, "frozen", 1, timeout_s):
            self._write("cgroup.freeze", "0", "thaw")
            message = f"the cgroup {self.directory} does not freeze within {timeout_s:g} s"
            raise SubstrateError(message, f"see /proc/PID/stack of {self._some_pids()}")

    def thaw(self, timeout_s: float = FREEZE_TIMEOUT_S) -> None:
        """Let all processes run again."""
        self._write("cgroup.freeze", "0", "thaw")
        if not cgroup2.wait_event(self.fd, "frozen", 0, timeout_s):
            message = f"the cgroup {self.directory} stays frozen"
            raise SubstrateError(message, "a cgroup above it may be frozen")

    def kill(self) -> None:
        """Send SIGKILL to every process, those just being forked included; does not wait."""
        try:
            cgroup2.write(self.fd, "cgroup.kill", "1")
        except OSError as error:
            # It has the file since Linux 5.14, and not when it is threaded.
            if error.errno not in (*cgroup2.GONE, errno.EOPNOTSUPP):
                raise
            if self.is_gone:
                return
            self._kill_one_by_one()

    def signal(self, number: int) -> None:
        """Send a signal to every process. They are stopped meanwhile, so that none is missed."""
        if number == _SIGKILL:
            self.kill()
            return
        was_frozen = self.is_frozen
        if not was_frozen:
            self.freeze()
        try:
            self._send_to_all(number)
        finally:
            if not was_frozen:
                self.thaw()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no process is left; False when the time is over."""
        return cgroup2.wait_event(self.fd, "populated", 0, timeout_s)

    def remove(self, timeout_s: float = REMOVAL_TIMEOUT_S) -> None:
        """Remove it with all below; it may be gone already. Ends nobody itself.

        Waits for processes that were killed; raises `SubstrateError` when some are left.
        """
        deadline = time.monotonic() + timeout_s
        pause = _FIRST_RETRY_S
        while True:
            empty = self.wait_empty(max(deadline - time.monotonic(), 0))
            try:
                cgroup2.remove_below(self.fd)
                os.rmdir(self.directory)
            except OSError as error:
                if error.errno in cgroup2.GONE:
                    return
                # A cgroup is busy for a moment after its last process has gone.
                if error.errno != errno.EBUSY or not empty or time.monotonic() > deadline:
                    raise self._not_removed(error) from error
            else:
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY_S)

    def _kill_one_by_one(self) -> None:
        self._write("cgroup.freeze", "1", "freeze")
        # Standing still or not: whoever is listed gets it, until nobody is left to be listed.
        cgroup2.wait_event(self.fd, "frozen", 1, 1.0)
        self._send_to_all(_SIGKILL)
        self._write("cgroup.freeze", "0", "thaw")
        for _ in range(100):
            if cgroup2.wait_event(self.fd, "populated", 0, 0.05):
                return
            self._send_to_all(_SIGKILL)

    def _send_to_all(self, number: int) -> None:
        pidfds: dict[int, int] = {}
        try:
            for pid in self.processes():
                try:
                    pidfds[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
            # Listed again: a pid that was reused before its pidfd was taken is not in the cgroup.
            for pid in set(self.processes()).intersection(pidfds):
                try:
                    signals.send(pidfds[pid], number)
                except ProcessLookupError:
                    continue
        finally:
            for pidfd in pidfds.values():
                os.close(pidfd)

    def _write(self, name: str, value: str, doing: str) -> None:
        try:
            cgroup2.write(self.fd, name, value)
        except FileNotFoundError:
            message = f"cannot {doing} the cgroup {self.directory}: it has no {name}"
            raise UnsupportedError(message, "the root cgroup cannot; any other one can") from None
        except OSError as error:
            message = f"cannot {doing} the cgroup {self.directory}: {error.strerror}"
            raise SubstrateError(message) from error

    def _not_removed(self, error: OSError) -> SubstrateError:
        message = f"cannot remove the cgroup {self.directory}: {error.strerror}"
        pids = self._some_pids()
        return SubstrateError(message, f"processes are still in it: {pids}" if pids else "")

    def _some_pids(self) -> str:
        pids = self.processes()
        more = f" and {len(pids) - _SHOWN_PIDS} more" if len(pids) > _SHOWN_PIDS else ""
        return ", ".join(map(str, pids[:_SHOWN_PIDS])) + more
