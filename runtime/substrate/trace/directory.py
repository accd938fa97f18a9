"""The directory of a trace and the names in it.

    trace.jsonl                     the active segment, mode 0600: writers append to it
    trace-<seq>-<segment id>.jsonl  a sealed segment, mode 0400: it never changes again
    trace.lock                      held while a segment is sealed and the next one begun
    index.sqlite                    derived, can be removed at any time
    spans/                          the exact requests, one file a span
    changes/                        what the spans of ended worlds changed, one file a span

Everything is opened relative to the directory's descriptor and no link is followed.
"""

from __future__ import annotations

import errno
import os
import stat

from substrate.errors import RefusedError, TraceError
from substrate.kernel.blanks import take_blank

ACTIVE = "trace.jsonl"
LOCK = "trace.lock"
NEXT = ".trace.jsonl.new"
_PREFIX, _SUFFIX = "trace-", ".jsonl"
# Of the file's owner: a sealed segment has lost it.
WRITABLE = 0o200
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def trace_directory(data: str) -> str:
    """Return where the trace of a data directory is. No world's directory can have that name."""
    return os.path.join(data, "@trace")


def open_directory(path: str, *, create: bool = False) -> int:
    """Return a descriptor of the directory, which the caller closes.

    Raises `TraceError` when there is none and, if it is to be written (`create`), `RefusedError`
    when others could change it.
    """
    if create:
        os.makedirs(path, mode=0o700, exist_ok=True)
    try:
        fd = os.open(path, _FOLDER)
    except OSError as error:
        message = f"cannot open the trace {path}: {error.strerror}"
        hint = "nothing has been recorded there yet" if error.errno == errno.ENOENT else ""
        raise TraceError(message, hint) from None
    if create:
        _check_own(fd, path)
    return fd


def open_folder(name: str, parent_fd: int, *, create: bool = False) -> int:
    """Return a descriptor of a folder in the directory, which the caller closes.

    Raises `OSError` as `open` does, and `RefusedError` as `open_directory`.
    """
    if create:
        _make_folder(name, parent_fd)
    fd = os.open(name, _FOLDER, dir_fd=parent_fd)
    if create:
        _check_own(fd, name)
    return fd


def open_folder_in(directory: str, name: str, *, create: bool) -> int:
    """Open a directory in a trace's, as `open_folder` does; the caller closes it."""
    directory_fd = open_directory(directory, create=create)
    try:
        return open_folder(name, directory_fd, create=create)
    finally:
        os.close(directory_fd)


def open_own(name: str, flags: int, directory_fd: int) -> int:
    """Open a file of the directory, mode 0600 when it is made, and check that it is ours.

    Raises `OSError` as `open` does, and `RefusedError` for a file of somebody else or no file.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
    status = os.fstat(fd)
    fault = ""
    if not stat.S_ISREG(status.st_mode):
        fault = "is not a regular file"
    elif status.st_uid != os.geteuid():
        fault = f"belongs to uid {status.st_uid}, not to uid {os.geteuid()}"
    elif status.st_mode & 0o077:
        fault = f"is open to others, mode {stat.S_IMODE(status.st_mode):o}"
    if fault:
        os.close(fd)
        message = f"the trace is not written: {name} {fault}"
        raise RefusedError(message, f"look at {name}, then remove it or chmod 600")
    return fd


def _make_folder(name: str, parent_fd: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        return


def _check_own(fd: int, name: str) -> None:
    """Close a folder's descriptor and raise unless the folder is ours alone to change."""
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        os.close(fd)
        told = f"{name} belongs to uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}"
        message = f"the trace must be its user's alone: {told}"
        raise RefusedError(message, f"chown and chmod 700 {name}")


def sealed_name(seq: int, segment_id: str) -> str:
    """Return the file name of a sealed segment."""
    return f"{_PREFIX}{seq:08}-{segment_id}{_SUFFIX}"


def sealed_segments(directory_fd: int) -> list[tuple[int, str]]:
    """Return number and name of every sealed segment, in order."""
    found: list[tuple[int, str]] = []
    for name in os.listdir(directory_fd):
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            number = name[len(_PREFIX) :].partition("-")[0]
            if number.isdecimal() and number.isascii():
                found.append((int(number), name))
    return sorted(found)


def write_new(name: str, content: bytes, folder_fd: int) -> None:
    """Make a file that was not there, whole or not at all; raises `FileExistsError`."""
    if _is_there(name, folder_fd):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    temporary = f".{name}.new"
    take_blank("", temporary, folder_fd)
    fd = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, folder_fd)
    written = 0
    try:
        written = os.write(fd, content)
    finally:
        os.close(fd)
        if written != len(content):
            os.unlink(temporary, dir_fd=folder_fd)
    if written != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)


def _is_there(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
