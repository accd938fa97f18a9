"""Adding records to the trace. Nothing else in Substrate does.

A record is one line and one `write(2)` on an O_APPEND descriptor, which the kernel does not mix
with another's (the inode's lock; measured on ext4, tmpfs and overlayfs). The shared lock keeps
the segment from being sealed between the look at its mode and the write.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock

from substrate.errors import TraceWriteError, UsageError
from substrate.jsontext import dumps_line
from substrate.trace.directory import ACTIVE, WRITABLE, open_directory, open_own
from substrate.trace.events import VERSION, timestamp, to_json
from substrate.trace.locking import EXCLUSIVE, SHARED, lock, unlock
from substrate.trace.rotation import ensure_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from substrate.trace.events import Event

SEGMENT_BYTES = 64 << 20
# More than a header has: a segment that begins full would never take a record.
SMALLEST_SEGMENT_BYTES = 4096
# Every line begins so and none has it anywhere else: inside a string its quotes are escaped, and
# `v` is a key of the top level only. A reader finds the next record after a torn one by it.
MARKER = b'{"v":%d,"ts":' % VERSION

# What survives: any death of a process; also of the machine, up to the last seal or each record.
SYNC_SEAL, SYNC_RECORD = "seal", "record"


class TraceWriter:
    """The one who writes to a directory's trace, for any number of threads and forked children.

    `segment_bytes`: a segment that has as many is sealed before the next record. `sync`: "seal"
    hands a segment to the disk when it is sealed, "record" every record when it is written.
    """

    def __init__(
        self, directory: str, segment_bytes: int = SEGMENT_BYTES, sync: str = SYNC_SEAL
    ) -> None:
        if segment_bytes < SMALLEST_SEGMENT_BYTES or sync not in (SYNC_SEAL, SYNC_RECORD):
            message = (
                f"segments have {SMALLEST_SEGMENT_BYTES} bytes or more, sync is seal or record"
            )
            raise UsageError(message)
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.sync = sync
        self._directory_fd = -1
        self._fd = -1
        self._pid = os.getpid()
        self._mutex = allocate_lock()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def append(self, event: Event) -> str:
        """Write an event and return the time it is recorded with.

        When this returns, the record is in the file, whole. Otherwise `TraceWriteError` (or
        `RefusedError`, `UnsupportedError` for a directory that cannot be one): call it before
        the command runs, and do not run what could not be recorded.
        """
        ts = timestamp()
        self.append_line(dumps_line(to_json(event, ts)).encode() + b"\n")
        return ts

    def append_line(self, line: bytes) -> None:
        """Write a record that is already a line, with its line end. Raises as `append` does."""
        if not line.startswith(MARKER) or line.find(b"\n") != len(line) - 1:
            message = "a record is one line and begins with its version and time"
            raise TraceWriteError(message)
        if line.find(MARKER, 1) >= 0:
            message = "a record has the beginning of a record inside"
            raise TraceWriteError(message)
        self._forget_parents()
        with self._mutex:
            try:
                while not self._try_append(line):
                    self._leave()
                    ensure_room(self._open_directory(), self.segment_bytes)
            except OSError as error:
                raise _write_error(self.directory, error) from error

    def close(self) -> None:
        """Close the descriptors; the next `append` opens them again."""
        self._leave()
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory_fd = -1

    def _try_append(self, line: bytes) -> bool:
        """Append to the active segment; False when it is full, sealed, removed or not there."""
        if self._fd < 0 and not self._enter():
            return False
        fd = self._fd
        try:
            lock(fd, SHARED)
            status = os.fstat(fd)
            if (
                not status.st_mode & WRITABLE
                or status.st_size >= self.segment_bytes
                or not status.st_nlink
            ):
                return False
            written = os.write(fd, line)
            if written != len(line):
                self._take_back(fd, written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.sync == SYNC_RECORD:
                os.fdatasync(fd)
        finally:
            unlock(fd)
        return True

    def _take_back(self, fd: int, written: int) -> None:
        """Remove the beginning of a record that found no room, unless others wrote behind it.

        Left there, it would be the beginning of somebody else's line. Readers cope with that
        too: this is not needed for them, and may fail.
        """
        end = os.lseek(fd, 0, os.SEEK_CUR)
        lock(fd, EXCLUSIVE)
        status = os.fstat(fd)
        if status.st_size == end and status.st_mode & WRITABLE:
            os.ftruncate(fd, end - written)

    def _enter(self) -> bool:
        """Open the active segment; False when there is none to write to."""
        try:
            self._fd = open_own(ACTIVE, os.O_WRONLY | os.O_APPEND, self._open_directory())
        except FileNotFoundError:
            return False
        except PermissionError:
            # An ordinary user cannot open a sealed file for writing; root can, and sees the mode.
            return False
        return True

    def _open_directory(self) -> int:
        if self._directory_fd < 0:
            self._directory_fd = open_directory(self.directory, create=True)
        return self._directory_fd

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _forget_parents(self) -> None:
        """After a fork, stop sharing the parent's descriptors: its locks would be ours."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._mutex = allocate_lock()
            self.close()


def _write_error(directory: str, error: OSError) -> TraceWriteError:
    hint = f"look at {directory}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"make room on the file system of {directory}"
    return TraceWriteError(f"cannot write the trace: {error.strerror}", hint)
