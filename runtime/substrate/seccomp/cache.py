"""Compiled filters on disk: a hit costs a hash and a read instead of loading libseccomp.

A filter is a security boundary, so the cache trusts only what this user alone can have written:
a directory of mode 0700 and a regular file of mode 0600, both owned by the effective uid, opened
without following links, whose content matches its own digest. Anything else is compiled afresh and
replaced; a directory that cannot be trusted is left alone and never fails a run.
"""

from __future__ import annotations

import marshal
import os
import stat
from _blake2 import blake2b

from substrate import __version__
from substrate.seccomp.compiled import CompiledFilter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Counted up whenever the same profile compiles to another filter. libseccomp's version is not in
# the key: it supplies numbers, which never change, and asking it would mean loading it.
_FORMAT = 1
_MAGIC = b"substrate-bpf\x00\x00\x01"
_DIGEST_SIZE = 32
_HEADER_SIZE = len(_MAGIC) + _DIGEST_SIZE + 4
# BPF_MAXINSNS instructions of 8 bytes.
_MAX_SIZE = _HEADER_SIZE + 4096 * 8
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def cached_filter(seccomp: dict[str, Any], log_only: bool, cache_dir: str) -> CompiledFilter:
    """Return the filter of an OCI `linux.seccomp` object, from `cache_dir` when it is there.

    `cache_dir` is made (0700) when only its last component is missing. Raises what
    `compile_filter` raises; never fails because of the cache itself.
    """
    name = cache_key(seccomp, log_only)
    directory_fd = _open_directory(cache_dir)
    if directory_fd < 0:
        return _compile(seccomp, log_only)
    try:
        found = _read(directory_fd, name)
        if found is None:
            found = _compile(seccomp, log_only)
            _write(directory_fd, name, found)
        return found
    finally:
        os.close(directory_fd)


def cache_key(seccomp: dict[str, Any], log_only: bool) -> str:
    """Return the file name of a filter: everything that its content depends on, hashed."""
    facts = [_FORMAT, __version__, os.uname().machine, log_only, seccomp]
    # marshal, not JSON text: a tenth of the time for 20 kB. Version 0 writes equal values as equal
    # bytes, the later ones write down which strings are interned or shared.
    return blake2b(marshal.dumps(facts, 0), digest_size=_DIGEST_SIZE).hexdigest()


def stale_entries(cache_dir: str) -> list[str]:
    """Return the files that were being written when their writer was killed."""
    try:
        names = os.listdir(cache_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    # `.KEY.PID`, see _write.
    parts = [(name, name.rpartition(".")) for name in names if name.startswith(".")]
    return [
        os.path.join(cache_dir, name)
        for name, (key, _, pid) in parts
        if len(key) == 1 + 2 * _DIGEST_SIZE
        and pid.isdecimal()
        and not os.path.exists(f"/proc/{pid}")
    ]


def _compile(seccomp: dict[str, Any], log_only: bool) -> CompiledFilter:
    # Only here: pyseccomp costs three times a whole `state` command.
    from substrate.seccomp.compile import compile_filter

    return compile_filter(seccomp, log_only)


def _open_directory(path: str) -> int:
    try:
        _make_directory(path)
        fd = os.open(path, _DIRECTORY_FLAGS)
    except OSError:
        return -1
    if _is_private(os.fstat(fd)):
        return fd
    os.close(fd)
    return -1


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _read(directory_fd: int, name: str) -> CompiledFilter | None:
    try:
        fd = os.open(name, _READ_FLAGS, dir_fd=directory_fd)
    except OSError:
        # Not there, a symbolic link (ELOOP) or not readable: all of them a miss.
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _is_private(status):
            return None
        return _decode(os.read(fd, _MAX_SIZE + 1), name)
    except OSError:
        return None
    finally:
        os.close(fd)


def _write(directory_fd: int, name: str, compiled: CompiledFilter) -> None:
    temporary = f".{name}.{os.getpid()}"
    try:
        fd = os.open(temporary, _WRITE_FLAGS, 0o600, dir_fd=directory_fd)
    except OSError:
        # A full or read-only disk: the filter is compiled, which is what was asked.
        return
    try:
        content = _encode(compiled, name)
        complete = os.write(fd, content) == len(content)
        if complete:
            os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
            return
    except OSError:
        pass
    finally:
        os.close(fd)
    _remove(directory_fd, temporary)


def _remove(directory_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory_fd)
    except OSError:
        return


def _encode(compiled: CompiledFilter, name: str) -> bytes:
    body = compiled.flags.to_bytes(4, "little") + compiled.bpf
    return _MAGIC + _digest(body, name) + body


def _decode(content: bytes, name: str) -> CompiledFilter | None:
    body = content[len(_MAGIC) + _DIGEST_SIZE :]
    bpf = body[4:]
    if len(content) > _MAX_SIZE or not bpf or len(bpf) % 8:
        return None
    if content[: len(_MAGIC) + _DIGEST_SIZE] != _MAGIC + _digest(body, name):
        return None
    return CompiledFilter(bpf, int.from_bytes(body[:4], "little"))


def _digest(body: bytes, name: str) -> bytes:
    # Keyed by the name: a valid entry copied over another one is not valid there.
    return blake2b(body, digest_size=_DIGEST_SIZE, key=bytes.fromhex(name)).digest()
