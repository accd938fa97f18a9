"""Sealing a full segment and beginning the next. Every step can be the last before a crash.

    trace.jsonl      trace-N       found by whoever comes next      goes on with
    writable         -             nothing happened                 the seal
    mode 0400        -             sealed, not renamed              the rename
    -                there         renamed, no successor            the next header
    writable         there         done                             -

The next header is written under another name and renamed, so a segment is never without one. It
names the digest of the segment before it, which makes the chain that `verify` walks. Without the
lock two processes would begin two successors, and the chain would fork.
"""

from __future__ import annotations

import os

from substrate.errors import TraceError, TraceWriteError, UnsupportedError
from substrate.jsontext import dumps_line, loads
from substrate.trace.directory import (
    ACTIVE,
    LOCK,
    NEXT,
    WRITABLE,
    open_own,
    sealed_name,
    sealed_segments,
)
from substrate.trace.events import SEGMENT_OPEN, VERSION, timestamp
from substrate.trace.ids import new_session_id
from substrate.trace.locking import EXCLUSIVE, lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Appends of several machines to one file are not atomic there.
_REMOTE = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "afs", "fuse.sshfs", "fuse.glusterfs")
)
_LONGEST_HEADER = 4096
_CHUNK = 1 << 20


def ensure_room(directory_fd: int, limit_bytes: int) -> None:
    """Leave an active segment below the limit: seal a full one, begin one where there is none."""
    lock_fd = open_own(LOCK, os.O_RDWR | os.O_CREAT, directory_fd)
    try:
        lock(lock_fd, EXCLUSIVE)
        try:
            active_fd = open_own(ACTIVE, os.O_RDONLY, directory_fd)
        except FileNotFoundError:
            active_fd = -1
        if active_fd >= 0:
            try:
                if not _seal(active_fd, limit_bytes):
                    return
                _put_aside(directory_fd, active_fd)
            finally:
                os.close(active_fd)
        _begin(directory_fd)
    finally:
        os.close(lock_fd)


def read_header(fd: int, name: str) -> dict[str, Any]:
    """Return the first record of a segment; raises `TraceError` when it is no header."""
    line, end, _ = os.pread(fd, _LONGEST_HEADER, 0).partition(b"\n")
    try:
        header = loads(line) if end else None
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("event_type") != SEGMENT_OPEN:
        message = f"{name} does not begin with the header of a segment"
        raise TraceError(message, f"substrate trace verify; then move {name} out of the way")
    return header


def digest(fd: int, length: int | None = None) -> tuple[int, str]:
    """Return length and SHA-256 of a file, or of its first `length` bytes if it has as many."""
    # OpenSSL's is six times as fast as Python's own, and worth its import for a whole segment.
    import hashlib

    found = hashlib.sha256()
    position = 0
    while length is None or position < length:
        wanted = _CHUNK if length is None else min(_CHUNK, length - position)
        chunk = os.pread(fd, wanted, position)
        if not chunk:
            break
        found.update(chunk)
        position += len(chunk)
    return position, found.hexdigest()


def _seal(active_fd: int, limit_bytes: int) -> bool:
    """Take the right to write from the active segment; False when another one is there already."""
    # Writers hold it shared while they look at the mode and write: once we have it, nobody is
    # between the two.
    lock(active_fd, EXCLUSIVE)
    status = os.fstat(active_fd)
    if status.st_mode & WRITABLE:
        if status.st_size < limit_bytes:
            return False
        os.fchmod(active_fd, 0o400)
    os.fsync(active_fd)
    return True


def _put_aside(directory_fd: int, active_fd: int) -> None:
    header = read_header(active_fd, ACTIVE)
    name = sealed_name(header["seq"], header["segment_id"])
    if any(name == taken for _, taken in sealed_segments(directory_fd)):
        message = f"{name} is there already: two segments have one name"
        raise TraceWriteError(message, "substrate trace verify")
    os.rename(ACTIVE, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    os.fsync(directory_fd)


def _begin(directory_fd: int) -> None:
    _refuse_remote(directory_fd)
    sealed = sealed_segments(directory_fd)
    seq, prev = 0, None
    if sealed:
        seq = sealed[-1][0] + 1
        prev = _describe(directory_fd, sealed[-1][1])
    header = {
        "v": VERSION,
        "ts": timestamp(),
        "event_type": SEGMENT_OPEN,
        "segment_id": new_session_id(),
        "seq": seq,
        "prev": prev,
    }
    line = dumps_line(header).encode() + b"\n"
    fd = open_own(NEXT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, directory_fd)
    try:
        # Whatever the umask: a segment that cannot be written is a sealed one.
        os.fchmod(fd, 0o600)
        if os.write(fd, line) != len(line):
            message = "cannot begin a segment of the trace: no space left on device"
            raise TraceWriteError(message, "make room on the file system of the trace")
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(NEXT, ACTIVE, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    os.fsync(directory_fd)


def _describe(directory_fd: int, name: str) -> dict[str, Any]:
    fd = open_own(name, os.O_RDONLY, directory_fd)
    try:
        length, sha256 = digest(fd)
        segment_id = read_header(fd, name)["segment_id"]
    finally:
        os.close(fd)
    return {"file": name, "segment_id": segment_id, "bytes": length, "sha256": sha256}


def _refuse_remote(directory_fd: int) -> None:
    from substrate.kernel.procfs import mount_lines

    path = os.readlink(f"/proc/self/fd/{directory_fd}") + "/"
    above = [line for line in mount_lines() if path.startswith(line.point.rstrip("/") + "/")]
    # The topmost of several mounts on one point is listed last.
    found = max(above, key=lambda line: len(line.point), default=None)
    kind = next((line.type for line in reversed(above) if found and line.point == found.point), "")
    if kind in _REMOTE:
        message = f"the trace would be on {kind}, where two writers can destroy a record"
        raise UnsupportedError(message, "set SUBSTRATE_HOME to a directory on a local disk")
